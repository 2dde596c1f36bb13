"""`fsbench demo`: a local web page on which a method is tried: paint a thing on one image, see it found on others."""

import argparse
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.base.terminal import print_line, print_note
from fsbench.cli.predict import add_method_options, add_weights_options, check_method, make_predictor
from fsbench.runner.config.limits import whole
from fsbench.runner.engine.machine.watchdog import sigterm_exits

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor

MOST_BYTES = 200 * 2**20
"""Size of the largest file that the page takes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.description = (
        "Serves a page on this machine alone: paint a thing on one or a few images, see it found on others, download "
        "the masks. Nothing is fetched from or sent to anywhere else."
    )
    add_method_options(parser)
    add_weights_options(parser)
    parser.add_argument("--port", type=whole(1, 65535), default=7860, help="where the page is served (default: 7860)")
    parser.set_defaults(
        function=_demo,
        dataset=None,
        image_size=None,
        device="auto",
        only_present=False,
        megapixels=16.0,
        tiles=False,
    )


def _demo(options: argparse.Namespace, extra: list[str]) -> int:
    check_method(options)
    with sigterm_exits(), tempfile.TemporaryDirectory(prefix="fsbench-demo-") as folder:
        # gradio reads these when it is imported, and when it builds a page
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)
        for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH"):  # files and an address beside the page's own
            os.environ.pop(name, None)
        from starlette.middleware import Middleware  # comes with gradio
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from fsbench.predict.page import make_page  # torch: seconds, which help and refused options do without

        page = make_page(_predictor(options), Path(folder))
        # a page elsewhere whose name is made to lead to this machine sends that name
        own_names = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
        try:
            page.launch(
                server_name="127.0.0.1", server_port=options.port, share=False, quiet=True, show_error=True,
                footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, prevent_thread_lock=True,
                mcp_server=False, max_file_size=MOST_BYTES, app_kwargs={"middleware": [own_names]},
            )  # fmt: skip
        except OSError as error:  # gradio's words are about its own variables
            raise SettingsError(f"cannot serve at port {options.port}: it is taken; choose another --port") from error
        try:
            print_line(f"http://127.0.0.1:{options.port} (Ctrl-C ends it, and nothing is kept)")
            _wait_for_interrupt()
        except KeyboardInterrupt:
            print_line()
        finally:
            page.close(verbose=False)
    return 0


def _wait_for_interrupt() -> None:
    """Wait until Ctrl-C raises KeyboardInterrupt."""
    threading.Event().wait()


def _predictor(options: argparse.Namespace) -> "Predictor":
    """Build the predictor; on the small network that fsbench includes where nothing was asked for and the default's
    weights are missing."""
    chosen = (options.ckpt, options.weights, options.backbone)
    try:
        return make_predictor(options)
    except CheckpointError:
        if options.method != "prototype" or any(chosen):
            raise
        print_note(
            "found no weights of a network for photos; using the demo's network, which was trained on drawn shapes only"
        )
        options.dataset = "demo"
        return make_predictor(options)
