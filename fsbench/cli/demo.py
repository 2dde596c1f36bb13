"""`fsbench demo`: a local web page on which an image is painted and others are segmented."""

import argparse
import os
import secrets
import socket
import tempfile
import threading
from typing import TYPE_CHECKING

from fsbench.cli.predict import add_method_options, check_method, make_predictor
from fsbench.config.limits import real, whole
from fsbench.engine.machine.watchdog import sigterm_exits
from fsbench.errors import CheckpointError, SettingsError
from fsbench.predict.guard import in_address, listening_address
from fsbench.terminal import print_line, print_note

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="serve a page on which you paint an object and segment images",
        description="Serves a page on this machine alone. Nothing is fetched from or sent to anywhere else.",
    )
    add_method_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=whole(0), default=7860, help="0 takes any that is free (default: 7860)")
    parser.add_argument(
        "--max-upload-mb", type=real(0.001, 4096), default=20.0, help="largest file that is taken (default: 20)"
    )
    parser.set_defaults(function=_demo)


def _demo(options: argparse.Namespace, extra: list[str]) -> int:
    check_method(options)
    port = _free_port(options.host, options.port)
    try:
        from fsbench.predict.app import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise SettingsError("the page needs gradio, which is not installed; pip install 'fsbench[demo]'") from None
    predictor, toy = _predictor(options)
    address = listening_address(options.host)
    host = str(address) if address.is_unspecified else options.host
    token = secrets.token_urlsafe(24)
    with sigterm_exits(), tempfile.TemporaryDirectory(prefix="fsbench-demo-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = serve(predictor, toy, host, port, int(options.max_upload_mb * 1e6), token)
        try:
            print_line(f"http://{in_address(host)}:{port}/?token={token} (Ctrl-C ends it)")
            if not address.is_loopback:
                print_note(f"whoever knows this address can use the page through {host}, and nothing is encrypted")
            threading.Event().wait()
        except KeyboardInterrupt:
            print_line()
        finally:
            page.close(verbose=False)
    return 0


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


def _free_port(host: str, port: int) -> int:
    """Return `port`, or any free one for 0.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if listening_address(host).version == 6 else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from None
