"""Pictures and weights of other programs that are not whole, or of another kind."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError, DataError
from fsbench.cli.main import main
from fsbench.data.image_io import read_label_map, read_mask, read_photo, read_pixels, read_shades
from fsbench.datamodules.check.media import whole_photo
from fsbench.networks.weights.files import check_keys, read_checkpoint, read_weights
from tests.png_file import png_file, png_of

# Pictures

LABELS = np.random.RandomState(0).randint(0, 3, (48, 32)).astype(np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in LABELS)
STREAM, EARLY = zlib.compress(ROWS), zlib.compress(ROWS[: 20 * 33])
HEADER = struct.pack(">IIBBBBB", 32, 20, 8, 0, 0, 0, 0)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return png_file(32, 48, *chunks)


def saved(form: str, pixels: np.ndarray = LABELS, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def tiff(change: Callable[[tifffile.TiffPage, bytearray], None], **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, LABELS, photometric="minisblack", rowsperstrip=8, metadata=None, **options)
    content = bytearray(file.getvalue())
    file.seek(0)
    with tifffile.TiffFile(file) as read:
        change(read.pages[0], content)
    return bytes(content)


def raise_height(page: tifffile.TiffPage, content: bytearray) -> None:
    struct.pack_into("<H", content, page.tags["ImageLength"].valueoffset, 60)


NOISE = np.random.RandomState(0).randint(0, 255, (96, 64, 3)).astype(np.uint8)
PHOTO, RESTARTS = saved("JPEG", NOISE), saved("JPEG", NOISE, restart_marker_rows=1)
PICTURES: dict[str, tuple[str, bytes, str]] = {
    "a stream of 20 rows": ("a.png", png((b"IDAT", EARLY)), "fewer rows than its header states"),
    "a stream of 20 rows of zeros": ("a.png", png((b"IDAT", zlib.compress(bytes(20 * 33)))), "fewer rows than its"),
    "a stream that lacks the last row": ("a.png", png((b"IDAT", zlib.compress(ROWS[:-33]))), "fewer rows than its"),
    "two streams": ("a.png", png((b"IDAT", EARLY), (b"IDAT", STREAM)), "fewer rows than its header states"),
    "a stream that is cut": ("a.png", png((b"IDAT", STREAM[:-40])), "not enough image data"),
    "an interlaced stream that is cut": (
        "a.png", png_file(32, 48, (b"IDAT", EARLY), interlaced=1), "not enough image data"),
    "no end": ("a.png", png((b"IDAT", STREAM))[:-12], r"its end \(IEND\) is missing"),
    "half an end": ("a.png", png((b"IDAT", STREAM))[:-4], r"its end \(IEND\) is missing"),
    "pixels before the header": (
        "a.png", png_of((b"IDAT", STREAM), (b"IHDR", HEADER), (b"IEND", b"")), r"cannot be decoded \("),
    "strips too few": ("a.tif", tiff(raise_height), "it holds 1536 of 1920 pixels"),
    "an early end": ("a.jpg", PHOTO[: len(PHOTO) // 2] + b"\xff\xd9", "Corrupt JPEG data: premature end"),
    "a part lost between two restarts": (
        "a.jpg", RESTARTS[: RESTARTS.index(b"\xff\xd0")] + RESTARTS[RESTARTS.index(b"\xff\xd1") :],
        "found marker 0xd1 instead of RST0"),
    "an early end, named otherwise": ("a.png", PHOTO[: len(PHOTO) // 2] + b"\xff\xd9", "Corrupt JPEG data: premature"),
}  # fmt: skip
"""A statement of a picture file that its content contradicts -> its name, its content, and what readers say."""
PHOTO_READERS = (read_pixels, read_photo, lambda path: read_photo(path.read_bytes(), path.name))
LABEL_READERS = (read_label_map, read_mask)


@pytest.mark.parametrize(("name", "content", "told"), PICTURES.values(), ids=PICTURES)
def test_a_picture_that_is_not_whole_is_refused_by_every_reader(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    is_photo = content.startswith(b"\xff\xd8")
    readers = (*PHOTO_READERS, read_shades, lambda path: whole_photo(path, decode=is_photo))
    for read in readers if is_photo else (*readers, *LABEL_READERS):
        with pytest.raises(DataError, match=told) as refused:
            read(file)
        assert "\n" not in str(refused.value) and name in str(refused.value)


def test_an_interlaced_png_of_every_size_and_depth_is_whole(tmp_path: Path) -> None:
    for depth in (1, 2, 4, 8, 16):
        for width, height in ((1, 1), (3, 2), (5, 9), (8, 8), (17, 4)):
            grids = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
            sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in grids if x < width]
            rows = b"".join(bytes(1 + -(-columns * depth // 8)) * max(0, lines) for columns, lines in sizes)
            content = png_file(width, height, (b"IDAT", zlib.compress(rows)), depth=depth, interlaced=1)
            (tmp_path / "a.png").write_bytes(content)
            assert not read_label_map(tmp_path / "a.png").any()


def test_a_fax_whose_rows_are_made_up_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file = tmp_path / "a.tif"
    Image.fromarray(LABELS > 0).save(file, compression="group4", tiffinfo={278: 8})  # rows of a strip
    content = bytearray(file.read_bytes())
    with tifffile.TiffFile(file) as read:
        struct.pack_into("<I", content, read.pages[0].tags["StripOffsets"].valueoffset, 12)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif cannot be decoded \(Fax4Decode: "):
        read_label_map(file)
    assert capfd.readouterr() == ("", "")


def test_the_check_of_a_folder_names_label_maps_that_are_not_whole(
    blocks_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in sorted(blocks_folder.rglob("*")):
        if path.is_file():
            (tmp_path / path.relative_to(blocks_folder)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(blocks_folder)).write_bytes(path.read_bytes())
    mask = sorted(tmp_path.rglob("image_024.png"))[-1]
    mask.write_bytes(mask.read_bytes()[:-12])
    assert main(["data", "check", "folder", "--root", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "image_024.png cannot be decoded (its end (IEND) is missing)" in out + err and "Traceback" not in out + err


# Weights

NETWORK = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
OWN = NETWORK.state_dict()
WEIGHT = OWN["0.weight"]
OTHER_KIND = "0.weight torch.{} instead of floats of 16, 32 or 64 bits"
NOT_DENSE = r"holds the tensor 0\.weight without a number in each place \(it is {}\)"
WEIGHTS: dict[str, tuple[str, Callable[[], Tensor], str]] = {
    **{
        str(dtype): ("0.weight", partial(WEIGHT.to, dtype), OTHER_KIND.format(str(dtype).removeprefix("torch.")))
        for dtype in (torch.int8, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
                      torch.complex64)
    },
    "sparse": ("0.weight", WEIGHT.to_sparse, NOT_DENSE.format("torch.sparse_coo")),
    "sparse rows": ("0.weight", WEIGHT.to_sparse_csr, NOT_DENSE.format("torch.sparse_csr")),
    "quantised": ("0.weight", lambda: torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8),
                  NOT_DENSE.format("quantised")),
    "without values": ("0.weight", partial(WEIGHT.to, "meta"), NOT_DENSE.format("on the device meta")),
    "a count of floats": ("1.num_batches_tracked", lambda: torch.tensor(0.5), "torch.float32 instead of torch.int64"),
    "a count of bits": ("1.num_batches_tracked", lambda: torch.tensor(True), "torch.bool instead of torch.int64"),
}  # fmt: skip
"""A tensor of another kind in place of weights -> the tensor's name, itself, and what readers say."""


@pytest.mark.filterwarnings("ignore:.*(Sparse CSR|quantize_per_tensor):UserWarning")
@pytest.mark.parametrize(("key", "make", "told"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_another_kind_are_refused_by_name(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, key: str, make: Callable[[], Tensor], told: str
) -> None:
    state = OWN | {key: make()}
    torch.save(state, tmp_path / "a.pth")
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    readers: list[tuple[Callable[[Path], dict[str, Tensor]], str]] = [
        (read_weights, "a.pth"), (read_weights, "a.ckpt"), (lambda path: read_checkpoint(path)["state_dict"], "a.ckpt"),
    ]  # fmt: skip
    if "in each place" not in told:
        save_file(state, tmp_path / "a.safetensors")
        readers.append((read_weights, "a.safetensors"))
    recwarn.clear()
    for read, name in readers:
        with pytest.raises(CheckpointError, match=told) as refused:
            check_keys(OWN, read(tmp_path / name), f"the file {name}")
        assert "\n" not in str(refused.value) and name in str(refused.value)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("entry", "told"),
    [({0: WEIGHT}, "has 0 for the name of a tensor"), ({"0.weight": "x"}, "1 keys no tensor: 0.weight$")],
)
def test_what_has_no_name_or_is_no_tensor_is_refused(tmp_path: Path, entry: dict, told: str) -> None:
    torch.save({"state_dict": OWN | entry}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=told):
        check_keys(OWN, read_checkpoint(tmp_path / "a.ckpt")["state_dict"], "the file")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_other_precisions_are_read(dtype: torch.dtype) -> None:
    check_keys(
        OWN, OWN | {"0.weight": WEIGHT.to(dtype), "1.num_batches_tracked": torch.tensor(0, dtype=torch.int32)}, ""
    )
