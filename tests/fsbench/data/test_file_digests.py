"""Checksums of contents: those of `hashlib`, read once, and never those of a file that was replaced."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from fsbench.data import file_digests
from fsbench.data.file_digests import (
    ABSENT,
    at_one_moment,
    content_digests,
    contents_sha256,
    file_state,
    states_sha256,
)


@pytest.fixture
def reads(monkeypatch, tmp_path) -> list[str]:
    """Names of the files that were read."""
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "SETTLED_NS", 0)
    names: list[str] = []
    real = file_digests.sha256_file
    monkeypatch.setattr(file_digests, "sha256_file", lambda path: names.append(path.name) or real(path))
    return names


def files(folder: Path, count: int = 4) -> list[Path]:
    paths = [folder / f"class{number % 2}" / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content %d" % number)
    time.sleep(0.01)
    return paths


def expected(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_every_file_is_read_once_in_whatever_lists_it_stands(tmp_path, reads, monkeypatch):
    paths = files(tmp_path / "data")
    assert content_digests([*paths, paths[0]]) == [*expected(paths), expected(paths)[0]]
    assert sorted(reads) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    monkeypatch.chdir(tmp_path / "data")
    assert content_digests(paths[::-1]) == expected(paths)[::-1] and content_digests([Path("class1/3.jpg")])
    assert len(reads) == 4
    more = files(tmp_path / "data", 6)  # the first four are written again, with equal contents
    assert content_digests(more) == expected(more) and len(reads) == 10


@pytest.mark.parametrize("way", ["overwritten", "renamed over", "link turned"])
def test_a_replaced_file_of_equal_size_and_time_of_writing_is_read_again(tmp_path, reads, way):
    path = files(tmp_path / "data")[0]
    if way == "link turned":
        path.rename(path.with_name("first"))
        path.symlink_to("first")
    before, state, status = content_digests([path]), states_sha256([path]), path.stat()
    other = path.with_name("other")
    other.write_bytes(b"contents!")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    if way == "overwritten":
        path.write_bytes(b"contents!")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif way == "renamed over":
        other.replace(path)
    else:
        path.unlink()
        path.symlink_to("other")
    assert file_state(path)[:2] == (status.st_size, status.st_mtime_ns)
    assert states_sha256([path]) != state
    assert content_digests([path]) == expected([path]) != before


def test_a_file_that_changed_a_moment_ago_is_not_trusted(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(file_digests, "SETTLED_NS", 10**12)
    paths = files(tmp_path / "data")
    assert content_digests(paths) == content_digests(paths) == expected(paths) and len(reads) == 8


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, reads, monkeypatch):
    path = files(tmp_path / "data")[0]
    real = file_digests.sha256_file

    def slow(path: Path) -> str:
        digest = real(path)
        path.write_bytes(b"contents!")
        return digest

    monkeypatch.setattr(file_digests, "sha256_file", slow)
    content_digests([path])
    monkeypatch.setattr(file_digests, "sha256_file", real)
    assert content_digests([path]) == expected([path])


def test_what_is_absent_or_vanishes_has_zeros_and_appears_later(tmp_path, reads):
    path = files(tmp_path / "data")[0]
    content = path.read_bytes()
    path.unlink()
    assert content_digests([path]) == ["0" * 64] and file_state(path) == ABSENT and not reads
    path.write_bytes(content)
    assert content_digests([path]) == expected([path])
    assert content_digests([tmp_path / "data"]) == ["0" * 64]  # a folder


def test_what_was_read_before_an_interruption_is_kept(tmp_path, reads, monkeypatch):
    paths = files(tmp_path / "data", 40)
    real = file_digests.sha256_file

    def interrupted(path: Path) -> str:
        if path.name == "30.jpg":
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(file_digests, "sha256_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        content_digests(paths)
    monkeypatch.setattr(file_digests, "sha256_file", real)
    count = len(reads)
    assert content_digests(paths) == expected(paths) and len(reads) - count == 10


@pytest.mark.parametrize("damage", [b"", b"no JSON", None])
def test_a_damaged_or_missing_cache_costs_time_alone(tmp_path, reads, damage):
    paths = files(tmp_path / "data")
    content_digests(paths)
    for entry in (tmp_path / "cache").rglob("*.json"):
        entry.unlink() if damage is None else entry.write_bytes(damage)
    assert content_digests(paths) == expected(paths) and len(reads) == 8


def test_a_time_of_writing_in_the_future_makes_nobody_read_a_file_again_and_again(tmp_path, reads):
    paths = files(tmp_path / "data")
    os.utime(paths[0], (4e9, 4e9))
    time.sleep(0.01)
    assert content_digests(paths) == content_digests(paths) == expected(paths) and len(reads) == 4


def test_a_clock_that_went_back_trusts_no_file_from_the_future(tmp_path, reads, monkeypatch):
    """A file that is replaced then may get the state that it had."""
    paths = files(tmp_path / "data")
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: paths[0].stat().st_ctime_ns - 10**9)
    assert content_digests(paths) == content_digests(paths) == expected(paths) and len(reads) == 8


def test_what_another_process_is_reading_is_waited_for(tmp_path, reads, monkeypatch):
    """Ranks and runs that start together read a large data set once."""
    paths = files(tmp_path / "data")
    monkeypatch.setattr(file_digests, "WORTH_WAITING", 1)
    monkeypatch.setattr(file_digests, "LOOKS_AGAIN", 0)
    real, tries = file_digests.locked, []

    def busy(path: Path) -> object:
        tries.append(path)
        if len(tries) < 3:
            raise BlockingIOError
        monkeypatch.setattr(file_digests, "locked", real)
        assert content_digests(paths) == expected(paths)  # what the other one has found when it ends
        return real(path)

    monkeypatch.setattr(file_digests, "locked", busy)
    assert content_digests(paths) == expected(paths)
    assert len(tries) == 3 and len(reads) == 4 and not tries[0].exists()


def test_without_locks_every_process_reads(tmp_path, reads, monkeypatch):
    paths = files(tmp_path / "data")
    monkeypatch.setattr(file_digests, "WORTH_WAITING", 1)
    monkeypatch.setattr("fcntl.lockf", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    assert content_digests(paths) == expected(paths) and len(reads) == 4


class Pictures:
    """Images and label maps of a folder."""

    further_files: tuple[Path, ...] = ()

    def __init__(self, folder: Path):
        self.folder = folder

    def image_path(self, name: str) -> Path:
        return self.folder / f"{name}.jpg"

    def label_file(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def test_images_are_looked_at_once_within_one_moment_alone(tmp_path, reads):
    data, names = Pictures(tmp_path), ["a", "b"]
    for name in names:
        data.image_path(name).write_bytes(name.encode())
        data.label_file(name).write_bytes(b"label")
    before = contents_sha256(data, names)
    with at_one_moment():
        assert contents_sha256(data, names) == before
        data.image_path("a").write_bytes(b"another image")
        assert contents_sha256(data, names) == before
        assert contents_sha256(Pictures(tmp_path), names) != before
    assert contents_sha256(data, names) != before
