"""Segment a photo: python thing.py PHOTO MASK.png, with numpy, Pillow and onnxruntime; thing.onnx lies beside it."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, __version__

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM"] + ["TIFF"] * (int(__version__.split(".")[0]) > 12)  # safe since
session = onnxruntime.InferenceSession(__file__.removesuffix("py") + "onnx", providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map


def segment(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (H, W), 0 background and n class n; of each class presence 1, 0 or -1 (unknown); its scores."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape) < 2:
        raise ValueError(f"photo is {pixels.dtype} {pixels.shape}; expected RGB: uint8, height x width x 3, from 2 x 2")
    return tuple(session.run(["labels", "present", "score"], {"image": np.ascontiguousarray(pixels)}))


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, trace: print(str(error) or kind.__name__, file=sys.stderr)  # a line is enough
    photo, out = sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)
    labels, present, score = segment(np.asarray(ImageOps.exif_transpose(Image.open(photo, formats=FORMATS))))
    mask = Image.fromarray(labels)
    mask.putpalette(bytes.fromhex(about["palette"]))
    mask.save(out)
    print({name: [int(present[n]), round(float(score[n]), 4)] for n, name in enumerate(json.loads(about["classes"]))})
