"""Files of checked lines: what was appended comes back, what was damaged does not."""

import errno
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fsbench.records.checked_jsonl import CheckedJsonl


def test_damaged_entries_are_none_and_do_not_harm_the_next(tmp_path):
    file = CheckedJsonl(tmp_path / "x.jsonl")
    file.create({"of": "x"})
    file.append({"a": 1})
    file.append([2], "cut off")
    file.close()
    assert file.header() == {"of": "x"} and [*file.entries()] == [{"a": 1}, [2], "cut off"]
    file.path.write_bytes(file.path.read_bytes().replace(b'"a": 1', b'"a": 2')[:-5])
    again = CheckedJsonl(file.path)
    again.append("next")
    again.close()
    assert [*again.entries()] == [None, [2], None, "next"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_what_a_full_disk_refused_does_not_come_back(tmp_path):
    file = CheckedJsonl(tmp_path / "x.jsonl")
    file.create({"of": "x"})
    file.append("before")
    written = file.path.read_bytes()
    for entry in ("x" * 100, "x" * 100_000):  # within and beyond the file object's buffer
        with largest_file(len(written) + 50), pytest.raises(OSError) as refused:
            file.append("short", entry)
        assert refused.value.errno == errno.EFBIG and file.path.read_bytes() == written
    file.append("after")
    file.close()
    assert [*file.entries()] == ["before", "after"]
