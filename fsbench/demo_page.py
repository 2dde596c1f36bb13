"""The page of `fsbench demo`. The only module that knows gradio."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported: no report, no look for a new version

import gradio as gr
import numpy as np

from fsbench.errors import DataError, FsbenchError
from fsbench.predict.predictor import Loaded, Predictor

KEPT = 600
"""Seconds after which an uploaded file is removed."""
TOY = (
    "**These masks are a toy.** No weights were given, so the small network that comes along looks at your photos; it "
    "was trained on generated shapes and knows little of the world. For real photos start the page with DINOv2's: "
    "`fsbench demo --weights dinov2_vits14_pretrain.pth`."
)
photos: Any = importlib.import_module("datamodules.photos")  # by name: fsbench does not depend on the data sets
mask_files: Any = importlib.import_module("datamodules.mask_files")


def serve(predictor: Predictor, toy: bool, host: str, port: int, max_upload: int) -> gr.Blocks:
    """The page at http://host:port, served by threads; `max_upload` bytes is the largest file it takes."""
    page = build(predictor, toy)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=max_upload,
        prevent_thread_lock=True,
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


def build(predictor: Predictor, toy: bool) -> gr.Blocks:
    """A photo to paint, photos to segment, a button, and what comes out."""
    with gr.Blocks(title="fsbench", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
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
                    file_types=list(photos.SUFFIXES),
                    elem_id="queries",
                )
                button = gr.Button("3. Segment", variant="primary", elem_id="segment")
                said = gr.Textbox(label="What was found", lines=3, interactive=False, elem_id="said")
        gallery = gr.Gallery(label="Masks", format="png", columns=3, object_fit="contain", buttons=[], elem_id="masks")

        def segment(
            painted: Any, mask_file: str | None, class_name: str, files: list[str] | None
        ) -> Iterator[tuple[list[tuple[Any, str]], str]]:
            try:
                yield from segmented(predictor, painted, mask_file, class_name, files)
            except FsbenchError as error:
                raise gr.Error(str(error), print_exception=False) from error

        button.click(
            segment, [editor, mask, name, queries], [gallery, said], concurrency_limit=1, api_visibility="private"
        )
    return page


def segmented(
    predictor: Predictor, painted: Any, mask_file: str | None, name: str, files: list[str] | None
) -> Iterator[tuple[list[tuple[Any, str]], str]]:
    """Overlays with captions and a line for every photo, as many as are done.

    Args:
        predictor: whose support is replaced.
        painted: what the editor gives: a background and layers, (H, W, 4) uint8.
        mask_file: a mask instead of the layers.
        name: of what is painted.
        files: the photos.

    Raises DataError where something is missing or does not fit.
    """
    photo, mask = support_of(painted, mask_file)
    if not files:
        raise DataError("there is no photo to segment; drop at least one at 2")
    predictor.clear().support(name.strip() or "object", [(photo, mask)])
    shown: list[tuple[Any, str]] = []
    lines: list[str] = []
    found = [photos.Photo(Path(file).name, Path(file)) for file in files]
    for loaded in predictor.loaded(found, threads=1):
        if isinstance(loaded, Loaded):
            result = predictor.predict(loaded)
            shown.append((result.overlay(), str(result)))
            lines.append(str(result))
        else:
            lines.append(f"left out: {loaded}")
        yield shown, "\n".join(lines)


def support_of(painted: Any, mask_file: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The photo (H, W, 3) and its mask (H, W) bool: of the file, or what was painted."""
    background = None if painted is None else painted.get("background")
    if background is None:
        raise DataError("there is no photo with the object; drop one at 1")
    photo = np.ascontiguousarray(background[..., :3])
    if mask_file is not None:
        labels = mask_files.read_mask(Path(mask_file))
        smoothed = mask_files.is_smoothed(Path(mask_file), labels)
        mask = labels >= mask_files.HALF if smoothed else (labels > 0) & (labels < 255)
    else:
        mask = np.zeros(photo.shape[:2], dtype=bool)
        for layer in painted["layers"]:
            mask |= layer[..., 3] > 127
    if not mask.any():
        raise DataError("nothing is painted; paint over the object at 1, or give its mask as a PNG")
    return photo, mask
