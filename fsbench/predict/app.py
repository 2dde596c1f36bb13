"""The page of `fsbench demo`; the only module that imports gradio."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by its import: no usage report, no check for a new version

import gradio as gr
import numpy as np
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from fsbench.errors import DataError, FsbenchError
from fsbench.predict.guard import Guard, host_names, in_address
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.mask_files import HALF, is_smoothed, read_mask
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import SUFFIXES, QueryImage

KEEP_UPLOADS = 600
"""Seconds after which an uploaded file is removed."""
MAX_FILES = 100
"""Number of photos that are segmented at a time."""
TOY = (
    "**These masks are a toy.** No weights were given, so the small network that comes along looks at your photos; it "
    "was trained on generated shapes and knows little of the world. For real photos get DINOv2's and start the page "
    "again: `fsbench weights fetch dinov2_vits14`."
)
Overlays = list[tuple[Any, str]]
"""Images with captions, as gradio's gallery takes them."""


def serve(predictor: Predictor, toy: bool, host: str, port: int, max_upload: int, token: str) -> gr.Blocks:
    """Serve the page at http://host:port in threads.

    Args:
        predictor: Segments the images.
        toy: Whether the predictor's network is the small one that fsbench includes, which the page then says.
        host: Address to listen at.
        port: Port to listen at.
        max_upload: Largest accepted file in bytes.
        token: What a request must know.
    """
    guard = Middleware(Guard, hosts=host_names(host, port), port=port, token=token, max_upload=max_upload)
    page = build(predictor, toy)
    logging.getLogger("uvicorn.error").addFilter(is_worth_a_line)
    page.launch(
        server_name=in_address(host),
        server_port=port,
        max_file_size=max_upload,
        prevent_thread_lock=True,
        app_kwargs={"middleware": [guard]},
        share=False,
        inbrowser=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # no fonts from elsewhere
    )
    return page


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Return False for what the web server logs when a browser leaves in the middle of an upload, which is no error."""
    return record.exc_info is None or not isinstance(record.exc_info[1], ClientDisconnect)


def build(predictor: Predictor, toy: bool) -> gr.Blocks:
    """Lay out the page: an image to paint, images to segment, a button, and the masks."""
    with gr.Blocks(title="fsbench", analytics_enabled=False, delete_cache=(KEEP_UPLOADS, KEEP_UPLOADS)) as page:
        gr.Markdown("# Segment by example\nPaint over one object, drop photos, get masks of objects of its kind.")
        if toy:
            gr.Markdown(TOY, elem_id="toy")
        with gr.Row():
            with gr.Column():
                editor = gr.ImageEditor(
                    label="1. A photo: paint over the object",
                    type="numpy",
                    sources=["upload"],
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(colors=["#e63c3c"], color_mode="fixed", default_size=24),
                    buttons=[],
                    elem_id="support",
                )
                mask = gr.File(
                    label="or its mask: a PNG, white or numbered where the object is",
                    file_types=[".png"],
                    height=110,
                    elem_id="mask",
                )
                name = gr.Textbox("object", label="What it is", max_length=60, elem_id="name")
            with gr.Column():
                queries = gr.File(
                    label="2. Photos to segment",
                    file_count="multiple",
                    file_types=list(SUFFIXES),
                    elem_id="queries",
                )
                button = gr.Button("3. Segment", variant="primary", elem_id="segment")
                summary = gr.Textbox(label="What was found", lines=3, interactive=False, elem_id="said")
        gallery = gr.Gallery(label="Masks", format="png", columns=3, object_fit="contain", buttons=[], elem_id="masks")

        def segment(
            painted: Any, mask_file: str | None, class_name: str, files: list[str] | None
        ) -> Iterator[tuple[Overlays, str]]:
            try:
                yield from segment_images(predictor, painted, mask_file, class_name, files)
            except FsbenchError as error:
                raise gr.Error(str(error), print_exception=False) from error

        button.click(
            segment, [editor, mask, name, queries], [gallery, summary], concurrency_limit=1, api_visibility="private"
        )
    return page


def segment_images(
    predictor: Predictor, painted: Any, mask_file: str | None, name: str, files: list[str] | None
) -> Iterator[tuple[Overlays, str]]:
    """Segment images, yielding the overlays and a line for each image so far.

    Args:
        predictor: Its support is replaced.
        painted: Value of the editor: a background and layers, (H, W, 4) uint8.
        mask_file: A mask instead of the layers.
        name: Name of the painted class.
        files: The images.

    Raises:
        DataError: something is missing or does not fit.
    """
    image, mask = read_painted(painted, mask_file)
    if not files:
        raise DataError("there is no photo to segment; drop at least one at 2")
    if len(files) > MAX_FILES:
        raise DataError(f"there are {len(files)} photos, expected at most {MAX_FILES} at a time; drop fewer at 2")
    predictor.clear().support(name.strip() or "object", [(image, mask)])
    overlays: Overlays = []
    lines: list[str] = []
    images = [QueryImage(Path(file).name, Path(file)) for file in files]
    for loaded in predictor.load_images(images, threads=1):
        if isinstance(loaded, LoadedImage):
            result = predictor.predict(loaded)
            overlays.append((result.overlay(), str(result)))
            lines.append(str(result))
        else:
            lines.append(f"left out: {loaded}")
        yield overlays, "\n".join(lines)


def read_painted(painted: Any, mask_file: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the image (H, W, 3) and its mask (H, W) bool, from the file or else from what was painted."""
    background = None if painted is None else painted.get("background")
    if background is None:
        raise DataError("there is no photo with the object; drop one at 1")
    image = np.ascontiguousarray(background[..., :3])
    if mask_file is not None:
        labels = read_mask(Path(mask_file))
        smoothed = is_smoothed(Path(mask_file), labels)
        mask = labels >= HALF if smoothed else (labels > 0) & (labels < 255)
    else:
        mask = np.zeros(image.shape[:2], dtype=bool)
        for layer in painted["layers"]:
            mask |= layer[..., 3] > 127
    if not mask.any():
        raise DataError("nothing is painted; paint over the object at 1, or give its mask as a PNG")
    return image, mask
