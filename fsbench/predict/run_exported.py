"""Segment a photo: python thing.py PHOTO MASK.png, with numpy, Pillow and onnxruntime; thing.onnx lies beside it."""

import json
import re
import sys
from contextlib import suppress

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, ImageSequence, TiffImagePlugin, __version__

FORMATS = ["PNG", "JPEG", "TIFF", "BMP"]
with suppress(ImportError):  # HEIC, where pillow-heif is installed
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)
    FORMATS.append("HEIF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
STACK = re.compile(r'ImageJ=.*?\simages=(?!1\s)|.*"truncated": true', re.DOTALL)
session = onnxruntime.InferenceSession(__file__.removesuffix("py") + "onnx", providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map


def read(path: str) -> np.ndarray:
    """Return the pixels (H, W, 3) of a photo as it is seen, over white; ValueError where `fsbench predict` has one."""
    image, exif = Image.open(path, formats=FORMATS), Image.Exif()
    image.info.pop("xmp", None)  # EXIF alone turns a photo
    tags, bands, pages = dict(getattr(image, "tag_v2", {})), len(image.getbands()), getattr(image, "n_frames", 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a smaller copy is no page; a page may be a stack
        pages = sum(not image.tag_v2.get(254, 0) & 5 for _ in ImageSequence.Iterator(image))
        pages += bool(STACK.match(str(tags.get(270, "")))) + (tags.get(254, 0) & 1) + (tags.get(32997, 1) > 1)
        image.seek(0)
    bits = 16 if ";16" in str(image.tile) else max(tags.get(258, (8,)))
    is_odd = 2 in tags.get(339, ()) or (tags.get(277, bands) != bands and image.mode != "RGB")  # signed, or more bands
    is_odd = is_odd or (322 in tags and int(__version__.split(".")[0]) < 13)  # tiles, in which damage is not safe
    if is_odd or bits > 8 or image.mode not in MODES or (pages != 1 and image.format != "MPO"):
        kind = " (signed, in tiles, or of further channels)" if is_odd else ""
        found = f"{pages} page{'s' * (pages > 1)} in {image.mode} of {bits} bits{kind}"
        raise ValueError(f"photo has {found}; expected one of 8 bits a channel in grey, RGB, palette or CMYK")
    image.load()
    pixels = image.convert("RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        opacity = image.convert("RGBA").getchannel("A")
        if not opacity.getbbox():
            raise ValueError("photo is transparent everywhere")
        pixels = Image.composite(pixels, Image.new("RGB", image.size, "white"), opacity)
    with suppress(Exception):  # a damaged entry turns nothing
        exif.load(image.info.get("exif", b""))
    pixels.info.clear()
    pixels.getexif()[274] = exif.get(274, 1)
    return np.asarray(ImageOps.exif_transpose(pixels))


def segment(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (H, W), 0 background and n class n; of each class presence 1, 0 or -1 (unknown); its scores."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape) < 2:
        raise ValueError(f"photo is {pixels.dtype} {pixels.shape}; expected RGB: uint8, height x width x 3, from 2 x 2")
    return tuple(session.run(["labels", "present", "score"], {"image": np.ascontiguousarray(pixels)}))


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, trace: print(str(error) or kind.__name__, file=sys.stderr)  # a line is enough
    photo, out = sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)
    labels, present, score = segment(read(photo))
    mask = Image.fromarray(labels)
    mask.putpalette(bytes.fromhex(about["palette"]))
    mask.save(out)
    print({name: [int(present[n]), round(float(score[n]), 4)] for n, name in enumerate(json.loads(about["classes"]))})
