"""The direct reader of label maps gives PIL's numbers, or leaves the file to PIL."""

import itertools
import threading
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.fast.png import decode_indices
from fsbench.data.fast.scratch import Scratch
from fsbench.data.image_io import read_label_map, read_pixels
from tests.png_file import png_file

LABELS = np.random.RandomState(0).randint(0, 21, (13, 29)).astype(np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


def written(rows: bytes, *more: tuple[bytes, bytes], height: int = 13, interlaced: int = 0, parts: int = 1) -> bytes:
    """A PNG of 8-bit grey values whose packed rows are `rows`, written by hand."""
    packed = zlib.compress(rows)
    ends = [len(packed) * part // parts for part in range(parts + 1)]
    chunks = [(b"IDAT", packed[start:end]) for start, end in itertools.pairwise(ends)]
    return png_file(29, height, *more, *chunks, interlaced=interlaced)


ROWS = b"".join(b"\0" + row.tobytes() for row in LABELS)


@pytest.mark.parametrize("options", [{}, {"transparency": 3}, {"dpi": (72, 72)}, {"compress_level": 0}])
def test_numbers_are_those_of_pil(options: dict[str, object]) -> None:
    palette = Image.fromarray(LABELS, "P")
    palette.putpalette(list(range(256)) * 3)
    content = png(palette, **options)
    np.testing.assert_array_equal(decode_indices(content), LABELS)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(content))), LABELS)


def test_several_parts_and_chunks_of_others() -> None:
    content = written(ROWS, (b"tEXt", b"a\0b"), parts=3)
    np.testing.assert_array_equal(decode_indices(content), LABELS)


@pytest.mark.parametrize("height", [1, 16, 17, 40])
def test_any_height_gives_an_array_of_its_own(height: int) -> None:
    labels = np.resize(LABELS, (height, 29))
    found = decode_indices(written(b"".join(b"\0" + row.tobytes() for row in labels), height=height))
    assert found is not None and found.flags.writeable and found.flags.c_contiguous
    np.testing.assert_array_equal(found, labels)


def test_real_label_maps(real_data: Path) -> None:
    files = sorted((real_data / "voc-mini/SegmentationClassAug").glob("*.png"))[:20]
    for file in files:
        np.testing.assert_array_equal(decode_indices(file.read_bytes()), np.asarray(Image.open(file)))
    assert files


@pytest.mark.parametrize(
    "content",
    [
        png(Image.fromarray(np.zeros((4, 4, 3), np.uint8))),
        png(Image.fromarray(LABELS > 9)),
        written(b"".join(b"\1" + row.tobytes() for row in LABELS)),  # rows as differences
        written(ROWS, interlaced=1),
        written(ROWS)[:-4],
        written(b"".join(b"\0" + row.tobytes() for row in LABELS[:12]) + b"\2" + LABELS[12].tobytes()),
        written((b"\0" + bytes(29)) * 20 + b"\2" + bytes(29), height=21),
        written(ROWS)[:-12],
        written(ROWS + b"\0"),
        written(ROWS[:-1]),
        written(ROWS).replace(b"IDAT", b"IDAX"),
        written(ROWS)[:60] + b"?" + written(ROWS)[61:],
        b"GIF89a",
        b"",
    ],
)  # fmt: skip
def test_other_forms_and_damage_are_left_to_pil(content: bytes) -> None:
    assert decode_indices(content) is None


def test_rows_as_differences_are_read_through_pil(tmp_path: Path) -> None:
    differences = np.diff(LABELS, axis=1, prepend=np.uint8(0))
    (tmp_path / "a.png").write_bytes(written(b"".join(b"\1" + row.tobytes() for row in differences)))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), LABELS)


def test_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    content = written(ROWS)
    (tmp_path / "a.png").write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        read_label_map(tmp_path / "a.png")


def test_more_pixels_than_a_label_map_may_have() -> None:
    with pytest.raises(ValueError, match="pixels; expected at most"):
        decode_indices(written(ROWS, height=1 << 24))


def test_short_lived_pixels_are_those_that_stay(tmp_path: Path) -> None:
    for number, shape in enumerate([(40, 30), (20, 50)]):
        noise = np.random.RandomState(number).randint(0, 256, (*shape, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    first, second = tmp_path / "0.jpg", tmp_path / "1.jpg"
    kept = read_pixels(first)
    copy = kept.copy()
    np.testing.assert_array_equal(read_pixels(first, short_lived=True), copy)
    np.testing.assert_array_equal(read_pixels(second, short_lived=True), read_pixels(second))
    np.testing.assert_array_equal(kept, copy)


def test_memory_is_used_again_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scratch, "LARGEST", 64)
    scratch = Scratch()
    first = scratch.array("a", (4, 4), np.float32)
    assert first.shape == (4, 4) and first.dtype == np.float32
    assert np.shares_memory(scratch.array("a", (3,)), first) and not np.shares_memory(scratch.array("b", (3,)), first)
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch.array("a", (3,))))
    thread.start()
    thread.join()
    assert not np.shares_memory(others[0], first)
    large = scratch.array("a", (17,), np.float32)
    assert not np.shares_memory(large, scratch.array("a", (17,), np.float32))
