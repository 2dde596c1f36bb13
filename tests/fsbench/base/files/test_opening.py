"""The door: only regular files of bounded size and content come in, and whatever is refused is said in one line."""

import base64
import gzip
import io
import os
import random
import socket
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import DataError
from fsbench.base.files import NotReadable, is_file, open_file, read_json, read_text
from fsbench.base.files.arrays import read_parquet
from fsbench.base.files.opening import LIMITS, gunzip, parse_json
from fsbench.base.files.yaml_files import parse_yaml
from fsbench.data.image_io import read_image, read_label_map
from fsbench.data.labelled.labelme import read_labelme
from fsbench.datamodules.prepare.unpack import unpack
from tests.png_file import png_file


def no_file(folder: Path, kind: str) -> str:
    path = folder / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))
        server.close()
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        return "/dev/zero"
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "circle":
        path.symlink_to("x")
    return {"long": "x" * 5000, "surrogate": "\ud800", "zero byte": "a\0b", "below a file": f"{__file__}/x"}.get(
        kind, str(path)
    )


KINDS = {
    "pipe": "named pipe", "socket": "No such device", "folder": "folder", "device": "device",
    "link to a device": "device", "dangling link": "No such file", "circle": "Too many levels of symbolic links",
    "long": "name too long", "surrogate": "not valid",
    "zero byte": "not valid", "below a file": "Not a directory", "absent": "No such file",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_come_in(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = no_file(tmp_path, kind)
    assert not is_file(path)
    with pytest.raises(OSError) as error:
        open_file(path, "image")
    assert KINDS[kind] in error.value.strerror and "\n" not in str(error.value)
    str(error.value).encode()
    if kind not in ("zero byte", "surrogate"):
        with pytest.raises(DataError, match=r"does not exist|cannot be decoded"):
            read_image(Path(path))


def test_files_are_as_large_as_their_kind(tmp_path):
    file = tmp_path / "x.yaml"
    file.touch()
    os.truncate(file, LIMITS["settings"])
    assert len(read_text(file, "settings")) == LIMITS["settings"]
    os.truncate(file, LIMITS["settings"] + 1)
    with pytest.raises(NotReadable, match=r"it has 256 KiB; expected at most 256 KiB"):
        read_text(file, "settings")


def test_marks_and_ends_of_lines_of_other_systems(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a":\r\n "b\\r\\nc"}\r\n')
    assert read_text(tmp_path / "x", "list") == '{"a":\n "b\\r\\nc"}\n'
    assert read_json(tmp_path / "x", "list") == {"a": "b\r\nc"}
    (tmp_path / "x").write_bytes(b"a\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "x", "list")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "", "{", "1" * 5000, "\x00", '{"a": ["\\ud800"]}', '"\\uDFFF x"']
)
def test_json_that_is_none_or_too_deep(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError) as error:
        read_json(tmp_path / "x", "list")
    assert "\n" not in str(error.value)


def test_json_with_both_halves_of_a_character(tmp_path):
    (tmp_path / "x").write_text('["\\ud83d\\ude00", "\\\\ud800"]')
    assert read_json(tmp_path / "x", "list") == ["\U0001f600", "\\ud800"]


LAUGHS = "a: &a [x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "more than 100000 values"), ("a: &a [*a]", "inside of what it stands for"),
        ("[" * 1000, "nested too deep"), ("a: 1\na: 2", "'a' again"),
        ("{a: {b: 1, b: 2}}", "'b' again"), ("a: [", "expected"), ("a: !!python/object:os.system x", "constructor"),
        ("a: 2024-13-45", "month"), ("a: !!int ''", "cannot be read"), ("a: " + "1" * 5000, "cannot be read"),
        ("? [a]\n: b", "unhashable"), ("a: \x1b", "special characters"),
        ('a: [1, "\\ud800"]', "line 1 has half of a character"),
        ('a:\n  "\\udfff": 1', "line 2 has half of a character"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason) as error:
        parse_yaml(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_aliases_may_stand_for_little():
    assert parse_yaml("a: &a {b: 1}\nc: {<<: *a, d: [*a]}") == {"a": {"b": 1}, "c": {"b": 1, "d": [{"b": 1}]}}


def test_gzip_is_bounded():
    content = os.urandom(1000)
    assert gunzip(gzip.compress(content) + gzip.compress(content), "manifest") == content * 2
    with pytest.raises(ValueError, match="decompresses to more than 64 MiB"):
        gunzip(gzip.compress(bytes(LIMITS["manifest"] + 1), 1), "manifest")
    for damaged in (gzip.compress(content)[:-9], b"x", gzip.compress(content)[:-8] + b"x" * 8):
        with pytest.raises(ValueError):
            gunzip(damaged, "manifest")


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size."""
    return png_file(width, height, (b"IDAT", zlib.compress(b"x")))


@pytest.mark.parametrize(("side", "read"), [(60_000, read_image), (60_000, read_label_map), (13_000, read_label_map)])
def test_sizes_of_images_are_looked_at_before_they_are_decoded(tmp_path, side, read):
    (tmp_path / "x.png").write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"cannot be decoded \(.*expected at most (179|100) megapixels"):
        read(tmp_path / "x.png")


def test_the_picture_in_a_labelme_file_is_bounded(tmp_path):
    mask = base64.b64encode(png(13_000, 13_000)).decode()
    shape = {"label": "a", "shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": mask}
    content = {"shapes": [shape], "imageHeight": 9, "imageWidth": 9}
    labels, classes, (note,) = read_labelme(content, tmp_path / "x.json").paint()
    assert "1 of a (a mask that cannot be read: cannot be decoded (it has 13000x13000 pixels)" in note
    assert not labels.any() and not classes


@pytest.mark.slow(1)
def test_archives_of_nothing_but_zeros_are_refused(tmp_path):
    info = tarfile.TarInfo("x")
    info.size = 84 << 20
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=6) as tar:
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(DataError, match="200 times the archive"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", str)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        file.writestr("x", bytes(84 << 20))
    with pytest.raises(DataError, match="200 times the archive"):
        unpack(tmp_path / "x.zip", tmp_path / "out", str)


def test_a_small_file_that_becomes_a_large_table_is_refused_before_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "x.parquet"
    pl.DataFrame({name: np.zeros(30_000) for name in "abcdefghij"}).write_parquet(file)
    assert file.stat().st_size < 10_000 and len(read_parquet(file, "counts", dict, list)) == 30_000
    monkeypatch.setitem(LIMITS, "counts", 1 << 20)
    with pytest.raises(ValueError, match=r"it has 30000 rows and 10 columns; expected at most 1 MiB in cells of 8"):
        read_parquet(file, "counts", dict, list)


def test_columns_are_known_before_they_are_read(tmp_path):
    file = tmp_path / "x.parquet"
    pl.DataFrame({"a": [[0] * 500_000], "b": ["x"]}).write_parquet(file)
    found = {}

    def refuse(types):
        found.update(types)
        raise ValueError("no lists")

    with pytest.raises(ValueError, match="no lists"):
        read_parquet(file, "counts", refuse, list)
    assert found == {"a": "List(Int64)", "b": "String"}


def test_texts_are_read_after_the_numbers_were_checked_and_up_to_a_bound(tmp_path, monkeypatch):
    file = tmp_path / "x.parquet"
    checked = []
    pl.DataFrame({"t": ["x" * 10**4] * 3000, "a": range(3000)}).write_parquet(file)
    monkeypatch.setitem(LIMITS, "counts", 1 << 24)
    with pytest.raises(ValueError, match=r"^its texts have more than 16 MiB, expected at most as much$"):
        read_parquet(file, "counts", dict, lambda part: checked.append(part.columns))
    assert checked == [["a"]]
    texts = pl.DataFrame({"t": [None, *map(str, range(2998)), "é"], "b": [b"\0", None] * 1500, "a": range(3000)})
    texts.write_parquet(file)
    assert read_parquet(file, "counts", dict, list).equals(texts)
    texts.clear().write_parquet(file)
    assert read_parquet(file, "counts", dict, list).equals(texts.clear())


def test_no_more_rows_are_read_than_the_footer_states(tmp_path):
    file = tmp_path / "x.parquet"
    pl.DataFrame({"a": np.zeros(300_000)}).write_parquet(file)
    content = file.read_bytes()
    stated, one = b"\xc0\xcf\x24", b"\x82\x80\x00"  # 300000 and 1, doubled, seven bits a byte from the lowest
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(stated, footer)
    file.write_bytes(content[:place] + one + content[place + 3 :])
    assert pl.read_parquet(file).height == 300_000 and read_parquet(file, "counts", dict, list).height == 1


def test_a_damaged_table_is_a_value_error_or_a_table(tmp_path):
    """Damages of a fixed seed: there are bytes at which polars ends the process."""
    file = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "d": [True, None, False]}).write_parquet(file)
    whole, chance = file.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(100):
        content = bytearray(whole)
        content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content[chance.choice((0, chance.randrange(len(content)))) :])
        try:
            assert len(read_parquet(file, "counts", dict, list).columns) <= 3
        except ValueError:
            refused += 1
    assert 50 <= refused < 100


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "c": 2, "a": 1}}]'])
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(ValueError, match="its key 'a' stands twice in one object, expected it once"):
        parse_json(text)
