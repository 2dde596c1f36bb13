"""`fsbench demo`: a local page on which a photo is painted and others are segmented."""

import argparse
import math
import os
import socket
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from fsbench.errors import CheckpointError, SettingsError
from fsbench.predict_command import add_method_options

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="a page in your browser: paint what you look for, drop photos, see masks",
        description="Serves a page on this machine alone. Nothing is fetched from or sent to anywhere else.",
    )
    add_method_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes any that is free (default: 7860)")
    parser.add_argument("--max-upload-mb", type=float, default=20.0, help="largest file that is taken (default: 20)")
    parser.set_defaults(function=_demo)


def _demo(options: argparse.Namespace, extra: list[str]) -> int:
    if not 0 < options.max_upload_mb < math.inf:
        raise SettingsError(f"--max-upload-mb is {options.max_upload_mb}, expected a number above 0")
    port = _free_port(options.host, options.port)
    try:
        from fsbench.demo_page import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise SettingsError("the page needs gradio, which is not installed; pip install 'fsbench[demo]'") from None
    predictor, toy = _predictor(options)
    uploads = tempfile.TemporaryDirectory(prefix="fsbench-demo-")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name
    page = serve(predictor, toy, options.host, port, int(options.max_upload_mb * 1e6))
    print(f"http://{options.host}:{port} (Ctrl-C ends it)", flush=True)
    if options.host not in LOOPBACK:
        print(f"fsbench: note: whoever reaches {options.host} can use this page; there is no password", file=sys.stderr)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        page.close(verbose=False)
        uploads.cleanup()
    return 0


def _predictor(options: argparse.Namespace) -> tuple["Predictor", bool]:
    """The method that was asked for; where nothing was and the weights are missing, the small network that comes along,
    and True."""
    from fsbench.predict.predictor import Predictor

    asked = {
        "checkpoint": options.ckpt,
        "weights": options.weights,
        "backbone": options.backbone,
        "dataset": options.dataset,
        "image_size": options.image_size,
    }
    nothing_asked = options.method == "prototype" and not any(asked.values())
    try:
        predictor = Predictor(options.method, device=options.device, **asked)
    except CheckpointError:
        if not nothing_asked:
            raise
        predictor = Predictor("prototype", dataset="demo", device=options.device)
    return predictor, predictor.method.backbone.name == "demo"


def _free_port(host: str, port: int) -> int:
    """`port`, or any free one for 0. Raises SettingsError where it is taken or the address is not this machine's."""
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise SettingsError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from None
