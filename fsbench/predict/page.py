"""Page of `fsbench demo`: the object is painted on a few example images, a method finds it on others.

Shapes: (H, W) an image, upright.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from PIL import Image

from fsbench.base.errors import FsbenchError
from fsbench.predict.predictor import Predictor

OBJECT = "object"
"""Name of the one class."""
BRUSH, BOX = "what is painted", "the box around it"
COLOR = "#d81b60"
IT, NOT_IT = "the object", "something that is not it"
NEGATIVE_COLOR = "#4b5563"


class Example(NamedTuple):
    """Labelled image of the page of `fsbench demo`: pixels (H, W, 3) uint8, and a mask (H, W) bool.

    `is_object` is True if the mask marks the object, False if it marks something that is not the object.
    """

    pixels: np.ndarray
    mask: np.ndarray
    is_object: bool = True


def marked_example(editor: dict[str, Any] | None, kind: str, shows: str = IT) -> Example:
    """Return the image of the page's image editor with the mask that was painted on it.

    Args:
        editor: Value of the Gradio image editor: `background`, and `layers` whose painted pixels are not transparent.
        kind: `BRUSH` ("what is painted") for the painted pixels as mask, or `BOX` ("the box around it") for the
            smallest upright box around the painted pixels.
        shows: `IT` ("the object") if the mask marks the object, `NOT_IT` ("something that is not it") if it marks
            something else.

    Raises:
        gr.Error: there is no image, or nothing is painted on it.
    """
    image = (editor or {}).get("background")
    if editor is None or image is None:
        raise gr.Error("There is no example image; upload one, paint the object on it, then add it.")
    mask = np.zeros((image.height, image.width), bool)
    for layer in editor["layers"]:
        if layer.size != image.size:
            sizes = [f"{one.width}x{one.height}" for one in (image, layer)]
            raise gr.Error(f"The image is {sizes[0]} pixels and its paint {sizes[1]}; upload the image again.")
        mask |= np.asarray(layer.getchannel("A")) > 0
    if not mask.any():
        raise gr.Error("Nothing is painted on the example image; paint the object with the brush, then add it.")
    if kind == BOX:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return Example(np.asarray(image.convert("RGB")), mask, shows == IT)


def draw_example(example: Example) -> Image.Image:
    """Return an example's image with its mask in a translucent color."""
    pixels, mask, is_object = example
    color = Image.new("RGB", (mask.shape[1], mask.shape[0]), COLOR if is_object else NEGATIVE_COLOR)
    image = Image.fromarray(pixels)
    return Image.composite(Image.blend(image, color, 0.6), image, Image.fromarray(mask))


def segment_images(
    predictor: Predictor, files: Sequence[str] | None, examples: Sequence[Example], folder: Path
) -> tuple[str, list[tuple[str, str]], str]:
    """Segment the object of the examples in other images; an image that cannot be read is left out with a warning.

    Args:
        predictor: The method; the examples become its only supports.
        files: The images to segment.
        examples: Labelled images of the object, and of regions that are not it; at least one.
        folder: An empty folder, which gets `labels/<image>.png`, `overlays/<image>.jpg` and `masks.zip`.

    Returns:
        A tuple: text on how good the masks of the examples are when each example is segmented by the others; a pair
        (path of the overlay JPEG, caption) for each image; and the path of a ZIP file with the label maps.

    Raises:
        gr.Error: images or examples are missing, or nothing can be predicted.
    """
    if not any(example.is_object for example in examples):
        raise gr.Error("There is no example yet; paint the object on an image and press “Add example”.")
    if not files:
        raise gr.Error("There is no image to segment; upload one or more.")
    if twice := [name for name, number in Counter(Path(file).name for file in files).items() if number > 1]:
        raise gr.Error(f"Several images are named {twice[0]}, so that their masks would be, too; rename them.")
    shown: list[tuple[str, str]] = []
    try:
        predictor.clear().support(OBJECT, [(one.pixels, one.mask) for one in examples if one.is_object])
        predictor.negative([(one.pixels, one.mask) for one in examples if not one.is_object])
        check = predictor.leave_one_out()[OBJECT]
        for file in files:
            refused: list[str] = []
            for result in predictor(file, refused):
                result.save(folder)
                shown.append((str(folder / "overlays" / f"{result.image_name}.jpg"), str(result)))
            for message in refused:
                gr.Warning(message.replace(file, Path(file).name))
    except FsbenchError as error:
        raise gr.Error(str(error)) from error
    if not shown:
        raise gr.Error("None of the images to segment can be read; upload JPEG, PNG, BMP or TIFF files.")
    words = f"On your examples, each left out once: {check.masks}. {check.presence}."
    return words, shown, shutil.make_archive(str(folder / "masks"), "zip", folder / "labels")


def make_page(predictor: Predictor, folder: Path) -> gr.Blocks:
    """Build the web page (Gradio) of `fsbench demo`, on which an object is marked and found in other images.

    Args:
        predictor: The method; requests are served one after another.
        folder: Folder for the results of each request.
    """

    def add(
        editor: dict[str, Any] | None, kind: str, shows: str, examples: list[Example]
    ) -> tuple[list[Example], list[Any], None]:
        examples = [*examples, marked_example(editor, kind, shows)]
        return examples, [draw_example(one) for one in examples], None

    def segment(files: list[str] | None, examples: list[Example]) -> tuple[str, list[tuple[str, str]], str]:
        return segment_images(predictor, files, examples, Path(tempfile.mkdtemp(dir=folder)))

    with gr.Blocks(title="fsbench demo", analytics_enabled=False) as page:
        gr.Markdown(
            f"## Segment images by example\n{predictor.name}, {predictor.image_size} pixels, {predictor.device}"
        )
        examples = gr.State([])
        shape: dict[str, Any] = {"height": 360, "object_fit": "contain", "fit_columns": False, "interactive": False}
        with gr.Row():
            with gr.Column():
                editor = gr.ImageEditor(
                    label="1. Example", placeholder="Upload an image, then paint the object", height=460, type="pil",
                    format="png", sources=("upload", "clipboard"), transforms=(), layers=False, buttons=[],
                    brush=gr.Brush(colors=[COLOR], color_mode="fixed"),
                )  # fmt: skip
                kind = gr.Radio([BRUSH, BOX], value=BRUSH, label="The mask is")
                shows = gr.Radio([IT, NOT_IT], value=IT, label="The mask shows")
                added = gr.Button("Add example")
                gallery = gr.Gallery(label="Examples", format="png", columns=3, **shape)
                removed = gr.Button("Remove all examples")
            with gr.Column():
                files = gr.Files(label="2. Images to segment", file_types=["image"])
                started = gr.Button("Segment", variant="primary")
                checked = gr.Markdown()
                masks = gr.Gallery(label="Masks", columns=2, **shape)
                archive = gr.File(label="Masks as PNG label maps: 0 background, 1 object", interactive=False)
        added.click(add, [editor, kind, shows, examples], [examples, gallery, editor], api_name="add")
        removed.click(lambda: ([], []), None, [examples, gallery], api_name="remove")
        started.click(segment, [files, examples], [checked, masks, archive], api_name="segment", concurrency_limit=1)
    return page
