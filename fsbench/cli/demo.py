"""`fsbench demo`: a local web page on which a method is tried: mark a thing on one photo, see it found on others."""

import argparse
import secrets
import socket
import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.base.terminal import print_line, print_note
from fsbench.cli.predict import add_method_options, check_method, make_predictor, take_photo_network
from fsbench.predict.tryout.addresses import in_address, listening_address
from fsbench.runner.config.limits import real, whole
from fsbench.runner.engine.machine.watchdog import sigterm_exits

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor
    from fsbench.predict.tryout.segment_anything import SegmentAnything
    from fsbench.predict.tryout.session import TryoutSession

EXAMPLES = 12
"""Number of example images, which are drawn."""
EXAMPLE_CLASSES = (16, 17)
"""Classes of the demo data set that they show."""
EXAMPLE_SCALE = 4
"""Factor by which drawn scenes are enlarged: they have 112 to 160 pixels a side."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.description = (
        "Serves a page on this machine alone: mark a thing on one or a few photos, see it found on the others, save "
        "photos and masks. Nothing is fetched from or sent to anywhere else."
    )
    add_method_options(parser)
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
    with sigterm_exits(), _listening(options.host, options.port) as held, ExitStack() as ends:
        # torch: seconds, which help and refused options do without
        from fsbench.predict.tryout.app import make_server
        from fsbench.predict.tryout.session import TryoutSession

        address, port = listening_address(options.host), int(held.getsockname()[1])
        host = str(address) if address.is_unspecified else options.host
        token = secrets.token_urlsafe(24)
        promptable = _promptable(options.promptable, options.device) if options.promptable else None
        if note := take_photo_network(options):
            print_note(note)
        predictor = _predictor(options)
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fsbench-demo-")))
        session = TryoutSession(folder, predictor, _add_examples, promptable)
        ends.callback(session.close)
        server = make_server(session, host, port, token, int(options.max_upload_mb * 1e6))
        print_line(f"http://{in_address(host)}:{port}/?token={token} (Ctrl-C ends it)")
        print_line("nothing is kept when it ends; the page has a button that saves photos and masks")
        if not address.is_loopback:
            print_note(f"whoever knows this address can use the page through {host}, and nothing is encrypted")
        try:
            server.run(sockets=[held])
        except KeyboardInterrupt:
            print_line()
    return 0


def _predictor(options: argparse.Namespace) -> "Predictor":
    """Build the predictor; on the small network that fsbench includes where nothing was asked for and the default's
    weights are missing."""
    chosen = (options.ckpt, options.weights, options.backbone, options.dataset, options.image_size)
    try:
        return make_predictor(options)
    except CheckpointError:
        if options.method != "prototype" or any(chosen):
            raise
        options.dataset = "demo"
        return make_predictor(options)


def _promptable(folder: Path, device: str) -> "SegmentAnything":
    """Read the network of `--promptable`."""
    # heavy, and transformers is optional
    from fsbench.predict.settings import choose_device
    from fsbench.predict.tryout.segment_anything import load_segment_anything

    return load_segment_anything(folder, choose_device(device))


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `port`, or at any free one for 0.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if listening_address(host).version == 6 else socket.AF_INET
        return socket.create_server((host, port), family=family)  # from now on browsers wait for the page
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from None


def _add_examples(session: "TryoutSession") -> None:
    """Add the example images and their classes to a session."""
    from fsbench.datamodules.datasets.demo.classes import object_class  # only where somebody wants examples

    for number in EXAMPLE_CLASSES:
        session.add_class(f"{object_class(number).pattern} {object_class(number).shape}")
    for number in range(EXAMPLES):
        session.add_image(*_example(number))


def _example(number: int) -> tuple[str, bytes]:
    """Draw an example image: one class in turn, or both."""
    from fsbench.datamodules.datasets.demo.scenes import draw_scene

    shown = (EXAMPLE_CLASSES, EXAMPLE_CLASSES[:1], EXAMPLE_CLASSES[1:])[number % 3]
    pixels, _ = draw_scene([0, number], shown)
    image = Image.fromarray(pixels)
    image = image.resize((image.width * EXAMPLE_SCALE, image.height * EXAMPLE_SCALE), Image.Resampling.BICUBIC)
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return f"example_{number + 1:02d}.jpg", file.getvalue()
