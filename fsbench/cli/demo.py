"""`fsbench demo`: a local web page on which a small data set is labelled, methods helping."""

import argparse
import copy
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from fsbench.cli.predict import add_method_options, check_method, make_predictor, take_photo_network
from fsbench.config.limits import real, whole
from fsbench.engine.machine.watchdog import sigterm_exits
from fsbench.errors import CheckpointError, SettingsError
from fsbench.labelling.serve.guard import in_address, listening_address
from fsbench.terminal import print_line, print_note

if TYPE_CHECKING:
    from fsbench.labelling.clicks import Promptable
    from fsbench.predict.predictor import Predictor

EXAMPLES = 12
"""Number of example images, which are drawn."""
EXAMPLE_CLASSES = (16, 17)
"""Classes of the demo data set that they show."""
EXAMPLE_SCALE = 4
"""Factor by which drawn scenes are enlarged: they have 112 to 160 pixels a side."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.description = (
        "Serves a page on this machine alone: paint objects on a photo, see them predicted in the others, "
        "correct, export. Nothing is fetched from or sent to anywhere else."
    )
    add_method_options(parser)
    parser.add_argument(
        "--project", type=Path, default=Path("labelling"),
        help="folder of photos and labels, new or from before (default: labelling)",
    )  # fmt: skip
    parser.add_argument(
        "--also", action="append", default=[], metavar="METHOD[=CKPT]",
        help="another method that the page offers, with its checkpoint; may be repeated; they are what it compares",
    )  # fmt: skip
    parser.add_argument(
        "--shots", type=whole(1, 100), default=5, help="labelled photos of a class that a method is given (default: 5)"
    )
    parser.add_argument(
        "--promptable", type=Path, metavar="FOLDER",
        help="folder of a SAM or SAM 2 as transformers stores it; the page gets a tool that segments at clicks",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=whole(0), default=7860, help="0 takes any that is free (default: 7860)")
    parser.add_argument(
        "--max-upload-mb", type=real(0.001, 4096), default=20.0, help="largest file that is taken (default: 20)"
    )
    parser.set_defaults(function=_demo)


def _demo(options: argparse.Namespace, extra: list[str]) -> int:
    check_method(options)
    also = [_other_method(options, text) for text in options.also]
    reserved = _reserved_port(options.host, options.port)
    port = int(reserved.getsockname()[1])
    try:
        from fsbench.labelling.serve.server import PageServer
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise SettingsError(f"the page needs {package}, which is not installed; pip install 'fsbench[demo]'") from None
    # torch: seconds, which help and refused options do without
    from fsbench.labelling.project import open_project
    from fsbench.labelling.session import LabellingSession

    address = listening_address(options.host)
    host = str(address) if address.is_unspecified else options.host
    token = secrets.token_urlsafe(24)
    promptable = _promptable(options.promptable, options.device) if options.promptable else None
    with sigterm_exits(), open_project(options.project) as project:
        if note := take_photo_network(options):
            print_note(note)
        predictor, toy = _predictor(options)
        methods: dict[str, Callable[[], Predictor]] = {options.method: lambda: predictor}
        for other in also:
            other.dataset = options.dataset
            methods[_free_label(other, methods)] = partial(make_predictor, other)
        session = LabellingSession(project, methods, options.shots, toy, _examples, promptable)
        session.start()
        reserved.close()  # only now, seconds later: the system gives one that is free to whoever asks next
        page = PageServer(session, host, port, token, int(options.max_upload_mb * 1e6))
        try:
            print_line(f"http://{in_address(host)}:{port}/?token={token} (Ctrl-C ends it)")
            print_line(f"everything is saved in {options.project}; the same command goes on there")
            if not address.is_loopback:
                print_note(f"whoever knows this address can use the page through {host}, and nothing is encrypted")
            _wait()
        except KeyboardInterrupt:
            print_line()
        finally:
            session.worker.stop()  # first: the page's server waits for clicks that are not answered
            page.close()
            session.close()
    return 0


def _wait() -> None:
    """Wait for a signal to end the process."""
    threading.Event().wait()


def _other_method(options: argparse.Namespace, text: str) -> argparse.Namespace:
    """Return the options of a method of `--also`, which share all but method and checkpoint with `--method`."""
    method, _, checkpoint = text.partition("=")
    other = copy.copy(options)
    other.method, other.ckpt = method, Path(checkpoint) if checkpoint else None
    check_method(other)
    if other.ckpt is not None and not other.ckpt.is_file():
        raise SettingsError(f"--also {text}: {other.ckpt} does not exist; expected the checkpoint of {method}")
    return other


def _free_label(options: argparse.Namespace, taken: Collection[str]) -> str:
    """Return the name under which the page shows a method: its own, with its checkpoint where that has to tell."""
    label = options.method
    if label in taken and options.ckpt:
        label = f"{label} {options.ckpt}"
    if label in taken:
        raise SettingsError(f"the method {label} is given twice; expected each method once; leave one --also out")
    return str(label)


def _predictor(options: argparse.Namespace) -> tuple["Predictor", bool]:
    """Build the predictor, and whether its network is the small one that fsbench includes.

    That one is taken where nothing was asked for and the default's weights are missing.
    """
    chosen = (options.ckpt, options.weights, options.backbone, options.dataset, options.image_size)
    try:
        predictor = make_predictor(options)
    except CheckpointError:
        if options.method != "prototype" or any(chosen):
            raise
        options.dataset = "demo"
        predictor = make_predictor(options)
    return predictor, predictor.method.backbone.name == "demo"


def _promptable(folder: Path, device: str) -> "Promptable":
    """Read the network of `--promptable`."""
    # heavy, and transformers is optional
    from fsbench.labelling.segment_anything import load_segment_anything
    from fsbench.predict.settings import choose_device

    return load_segment_anything(folder, choose_device(device))


def _reserved_port(host: str, port: int) -> socket.socket:
    """Return a socket that holds `port`, or any free one for 0, until it is closed.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    with ExitStack() as failed:
        try:
            family = socket.AF_INET6 if listening_address(host).version == 6 else socket.AF_INET
            held = failed.enter_context(socket.socket(family))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((host, port))
        except (OSError, OverflowError, UnicodeError) as error:
            raise SettingsError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from None
        failed.pop_all()
        return held


def _examples() -> tuple[list[str], Iterator[tuple[str, bytes]]]:
    """Return the names of the example images' classes, and the images themselves as (file name, content)."""
    from datamodules.datasets.demo.classes import object_class  # only where somebody wants examples

    shown = [object_class(number) for number in EXAMPLE_CLASSES]
    return [f"{one.pattern} {one.shape}" for one in shown], map(_example, range(EXAMPLES))


def _example(number: int) -> tuple[str, bytes]:
    """Draw an example image: one class in turn, or both."""
    from datamodules.datasets.demo.scenes import draw_scene

    shown = (EXAMPLE_CLASSES, EXAMPLE_CLASSES[:1], EXAMPLE_CLASSES[1:])[number % 3]
    pixels, _ = draw_scene([0, number], shown)
    image = Image.fromarray(pixels)
    image = image.resize((image.width * EXAMPLE_SCALE, image.height * EXAMPLE_SCALE), Image.Resampling.BICUBIC)
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return f"example_{number + 1:02d}.jpg", file.getvalue()
