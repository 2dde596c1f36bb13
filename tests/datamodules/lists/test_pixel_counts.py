from pathlib import Path

import numpy as np
import pytest

from fsbench.datamodules.lists.pixel_counts import KIND, PixelTable, count_labels, pixel_table

MAPS = {"a": np.array([[0, 3], [3, 255]], dtype=np.uint8), "b": np.array([[2, 2, 2]], dtype=np.uint8)}


class Counter:
    """Counts labels of `MAPS` and how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, name: str) -> np.ndarray:
        self.calls += 1
        return count_labels(MAPS[name])


def table_of(count: Counter, fingerprint: str = "one") -> PixelTable:
    return pixel_table(["a", "b"], count, fingerprint=fingerprint, description="counting")


def test_second_table_comes_from_the_cache_while_the_source_is_the_same(cache: Path) -> None:
    count = Counter()
    first, again = table_of(count), table_of(count)
    assert count.calls == 2
    assert first.class_pixels("a") == ({0: 1, 3: 2, 255: 1}, 4) and first.class_pixels("b") == ({2: 3}, 3)
    assert "a" in first and "c" not in first
    np.testing.assert_array_equal(first.rows, again.rows)
    assert [path.suffix for path in (cache / KIND).iterdir()] == [".npz"]
    table_of(count, "another")
    assert count.calls == 4


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_cache_is_counted_again(cache: Path, damage: bytes | None) -> None:
    count = Counter()
    table_of(count)
    (file,) = (cache / KIND).iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert table_of(count).class_pixels("b") == ({2: 3}, 3)
    assert count.calls == 4
    table_of(count)
    assert count.calls == 4


def test_unwritable_cache_is_said_once_and_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert table_of(Counter()).class_pixels("b") == ({2: 3}, 3)
    table_of(Counter(), "another")
    assert capsys.readouterr().err.count("set FSBENCH_CACHE") == 1
