"""The script beside an exported method reads the pixels that `fsbench predict` reads, and refuses what it refuses."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.paths import REPOSITORY
from fsbench.data.image_io import read_upright

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SCRIPT = REPOSITORY / "fsbench" / "predict" / "run_exported.py"
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)
PHOTO, GREY = Image.fromarray(RGB), Image.fromarray(RGB[..., 0])
OPACITY = Image.fromarray(RNG.integers(0, 256, (20, 30), np.uint8))
FRAMES = [Image.fromarray(np.roll(RGB, shift, 1)) for shift in (5, 9)]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6"></rdf:RDF></x:xmpmeta>'


def transparent(alpha: Image.Image) -> Image.Image:
    photo = PHOTO.copy()
    photo.putalpha(alpha)
    return photo


def saved(image: Image.Image, **options: object) -> Callable[[Path], None]:
    """Return a function that saves an image; a copy of it, since PIL leaves settings of one format in it."""
    return lambda path: image.copy().save(path, **options)


def turned(entry: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = entry
    return exif


def copies(path: Path, kind: int) -> None:
    """Write a TIFF of a picture and another page, of which NewSubfileType says what it is."""
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb", metadata=None)
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=kind, metadata=None)


READ: dict[str, Callable[[Path], object]] = {
    "rgb.png": saved(PHOTO),
    "rgb.jpg": saved(PHOTO),
    "rgb.bmp": saved(PHOTO),
    "rgb.tif": saved(PHOTO),
    "lzw.tif": saved(PHOTO, compression="tiff_lzw"),
    "deflate.tif": saved(PHOTO, compression="tiff_adobe_deflate"),
    "packbits.tif": saved(PHOTO, compression="packbits"),
    "small-copy.tif": lambda path: copies(path, 1),
    "planes.tif": lambda path: tifffile.imwrite(path, np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig=2),
    "grey.png": saved(GREY),
    "grey.jpg": saved(GREY),
    "grey.tif": saved(GREY),
    "grey-opacity.png": saved(GREY.convert("LA")),
    "white.tif": lambda path: tifffile.imwrite(path, RGB[..., 0], photometric="miniswhite"),
    "bits.png": saved(PHOTO.convert("1")),
    "bits.tif": saved(PHOTO.convert("1")),
    "four-bits.png": saved(PHOTO.quantize(16), bits=4),
    "palette.png": saved(PHOTO.quantize()),
    "palette.bmp": saved(PHOTO.quantize()),
    "palette.tif": saved(PHOTO.quantize()),
    "palette-transparent.png": saved(PHOTO.quantize(), transparency=3),
    "palette-opacities.png": saved(PHOTO.quantize(), transparency=bytes(range(0, 250, 10))),
    "grey-transparent.png": saved(GREY, transparency=int(RGB[3, 3, 0])),
    "rgb-transparent.png": saved(PHOTO, transparency=tuple(RGB[3, 3].tolist())),
    "rgba.png": saved(transparent(OPACITY)),
    "rgba.tif": saved(transparent(OPACITY)),
    "opaque.png": saved(PHOTO.convert("RGBA")),
    "cmyk.jpg": saved(PHOTO.convert("CMYK")),
    "cmyk.tif": saved(PHOTO.convert("CMYK")),
    "jpeg.tif": saved(PHOTO, compression="jpeg"),
    "camera.jpg": saved(PHOTO, format="MPO", save_all=True, append_images=FRAMES),
    "damaged-exif.jpg": saved(PHOTO, exif=b"Exif\0\0II*\0\xff\xff"),
    **{
        f"turned-{entry}.{suffix}": saved(PHOTO, exif=turned(entry))
        for entry in (2, 3, 6, 8)
        for suffix in ("png", "jpg", "tif")
    },
    "turned-xmp.jpg": saved(PHOTO, xmp=XMP),
    "turned-xmp.tif": saved(PHOTO, tiffinfo={700: XMP}),
}
"""Photos that are read: how each is written."""

REFUSED: dict[str, Callable[[Path], object]] = {
    "still.gif": saved(PHOTO),
    "still.webp": saved(PHOTO),
    "rgb.ppm": saved(PHOTO),
    "rgb.tga": saved(PHOTO),
    "moving.png": saved(PHOTO, save_all=True, append_images=FRAMES),
    "pages.tif": lambda path: tifffile.imwrite(path, np.stack([RGB, RGB]), photometric="rgb"),
    "second-page.tif": lambda path: copies(path, 0),
    "truncated.tif": lambda path: tifffile.imwrite(path, RGB[..., :2].T, photometric="minisblack", truncate=True),
    "imagej.tif": lambda path: tifffile.imwrite(path, RGB.T.copy(), imagej=True, metadata={"axes": "ZYX"}),
    "deep-grey.png": lambda path: cv2.imwrite(str(path), RGB[..., 0].astype(np.uint16) * 16),
    "deep.png": lambda path: cv2.imwrite(str(path), RGB.astype(np.uint16) * 16),
    "deep-opacity.png": lambda path: cv2.imwrite(str(path), np.dstack([RGB, RGB[..., :1]]).astype(np.uint16) * 16),
    "deep.tif": lambda path: tifffile.imwrite(path, RGB.astype(np.uint16) * 16, photometric="rgb"),
    "deep-lzw.tif": lambda path: cv2.imwrite(str(path), RGB.astype(np.uint16) * 16),
    "deep-planes.tif": lambda path: tifffile.imwrite(
        path, np.moveaxis(RGB, -1, 0).astype(np.uint16), photometric="rgb", planarconfig=2
    ),
    "deep-grey.tif": lambda path: tifffile.imwrite(path, RGB[..., 0].astype(np.uint16) * 16),
    "float.tif": lambda path: tifffile.imwrite(path, RGB[..., 0].astype(np.float32)),
    "signed.tif": lambda path: tifffile.imwrite(path, RGB[..., 0].astype(np.int8)),
    "bands.tif": lambda path: tifffile.imwrite(path, RGB[..., :2], photometric="minisblack", planarconfig=1),
    "lab.tif": saved(Image.new("LAB", (20, 30))),
    "nothing-seen.png": saved(transparent(Image.new("L", PHOTO.size, 0))),
    "cut.png": lambda path: (PHOTO.save(path), path.write_bytes(path.read_bytes()[:900])),
    "empty.jpg": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("no photo"),
}
"""Files that are refused: how each is written."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The script beside a file of the smallest graph."""
    folder = tmp_path_factory.mktemp("exported")
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["height", "width", 3])
    labels = onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.UINT8, ["height", "width", 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["image"], ["labels"])], "g", [value], [labels])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / "thing.onnx")
    (folder / "thing.py").write_bytes(SCRIPT.read_bytes())
    specification = importlib.util.spec_from_file_location("thing", folder / "thing.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", READ)
def test_both_read_the_same_pixels(script, tmp_path, name):
    READ[name](tmp_path / name)
    np.testing.assert_array_equal(script.read(str(tmp_path / name)), read_upright(tmp_path / name)[0])


def test_both_read_heic_where_its_package_is_installed(script, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    PHOTO.copy().save(tmp_path / "a.heic", exif=turned(6))
    np.testing.assert_array_equal(script.read(str(tmp_path / "a.heic")), read_upright(tmp_path / "a.heic")[0])


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(script, tmp_path, name):
    REFUSED[name](tmp_path / name)
    with pytest.raises(DataError):
        read_upright(tmp_path / name)
    with pytest.raises((ValueError, OSError)):
        script.read(str(tmp_path / name))
