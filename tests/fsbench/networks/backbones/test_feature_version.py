"""Features of fixed images are those that `FEATURE_VERSION` stands for.

`feature_version.json` holds the version, the sha256 of every image's decoded and resized pixels (integers, the same on
every processor) and its features (compared with a tolerance, as processors round differently).
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.base.files import sha256_file
from fsbench.data.batch import normalise
from fsbench.data.image_io import read_pixels
from fsbench.data.transforms import centre_square
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FEATURE_VERSION, Encoder

FILE = Path(__file__).with_name("feature_version.json")
SIZE = 64
SHAPES = {"wide": (90, 151), "tall": (211, 70), "small": (40, 33)}
"""(height, width) of the images; resizing treats wide, tall and small ones differently."""
TOLERANCE = 1e-4
"""Tolerance of features whose standard deviation is near 1; other processors differ by some 1e-6."""


def fixed_image(height: int, width: int) -> Image.Image:
    """An image of integers alone: ramps, edges and a fine pattern."""
    y, x = np.mgrid[:height, :width]
    planes = [(7 * x + 3 * y) % 256, (x * y // 5) % 256, 255 * ((x // 9 + y // 7) % 2)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def measure(folder: Path) -> dict[str, Any]:
    """Decode, resize, normalise and encode the fixed images as a run does, with the demo's network."""
    encoder = Encoder(BackboneConfig("demo"))
    images: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        path = folder / f"{name}.png"
        fixed_image(*shape).save(path)
        pixels = centre_square(read_pixels(path), SIZE)
        (folder / "pixels").write_bytes(pixels.numpy().tobytes())
        features = encoder.encode(normalise(pixels))
        images[name] = {
            "pixels_sha256": sha256_file(folder / "pixels"),
            "features": [round(value, 5) for value in features.tolist()],
        }
    return {"version": FEATURE_VERSION, "images": images}


def test_features_change_only_with_their_version(tmp_path: Path) -> None:
    expected, measured = json.loads(FILE.read_text()), measure(tmp_path)
    changed = [
        name
        for name, image in expected["images"].items()
        if image["pixels_sha256"] != measured["images"][name]["pixels_sha256"]
        or not np.allclose(image["features"], measured["images"][name]["features"], rtol=0, atol=TOLERANCE)
    ]
    if changed and measured["version"] == expected["version"]:
        pytest.fail(
            f"the features of the {', '.join(changed)} image changed, so that features stored by older code are wrong: "
            "raise FEATURE_VERSION in fsbench/networks/backbones/timm_networks.py and renew the file with "
            "python -m tests.fsbench.networks.backbones.test_feature_version"
        )
    assert (changed, measured["version"]) == ([], expected["version"]), (
        f"{FILE.name} is of another version; renew it: python -m tests.fsbench.networks.backbones.test_feature_version"
    )


def test_small_changes_are_noticed_and_rounding_is_not(tmp_path: Path) -> None:
    """Heights resized first give other pixels; other weights and another mean give features beyond the tolerance."""
    image, expected = fixed_image(*SHAPES["tall"]), json.loads(FILE.read_text())["images"]["tall"]
    pixels, side = centre_square(image, SIZE), int(SIZE * 1.15)
    heights_first = image
    for shape in ((image.width, side), (side, side)):
        heights_first = heights_first.resize(shape, Image.Resampling.BILINEAR)
    assert not torch.equal(centre_square(heights_first, SIZE), pixels)
    inputs = normalise(pixels)

    def close(encoder: Encoder, tensor: torch.Tensor) -> bool:
        return np.allclose(encoder.encode(tensor).numpy(), expected["features"], rtol=0, atol=TOLERANCE)

    demo = Encoder(BackboneConfig("demo"))
    assert close(demo, inputs + 1e-6)
    assert not close(demo, inputs + 1e-2)
    assert not close(Encoder(BackboneConfig("demo", "random:1")), inputs)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        text = json.dumps(measure(Path(name)), indent=1)
    FILE.write_text(re.sub(r",\s+(?=-?\d)", ", ", text) + "\n")  # the numbers of an image on one line
    print(f"wrote {FILE}, version {FEATURE_VERSION}")
