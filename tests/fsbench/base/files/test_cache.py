"""The cache takes no more room than it may: what was used longest ago goes, whoever else works on it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.files.cache import BLOCK, DAY, cache_entries, clean_cache, entry_path, trim_cache
from fsbench.base.paths import REPOSITORY, cache_size
from fsbench.cli.main import main
from fsbench.data.disk_cache import load_arrays, load_json, save_arrays, save_json
from fsbench.networks.backbones.feature_store import FeatureStore


def put(cache: Path, name: str, blocks: int, age: float) -> Path:
    """A file of the cache that was used `age` seconds ago."""
    file = cache / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * (blocks * BLOCK - 5))
    os.utime(file, (time.time() - age,) * 2)
    return file


def key(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture
def filled(cache) -> list[Path]:
    """Entries of several kinds, the oldest first; features have two files."""
    names = [
        f"pixels/fsbench-{key(1)}.npz", f"images/fsbench-{key(2)}.json", f"features/fsbench-{key(3)}.f32",
        f"features/fsbench-{key(3)}.crc", f"instances-2/fsbench-{key(4)}.npz", f"contents/fsbench-{key(5)}.npz",
        f"of-a-package/fsbench-{key(6)}.bin", f"classes/fsbench-{key(7)}.yaml",
    ]  # fmt: skip
    return [put(cache, name, 2, 1000 - 10 * age) for age, name in enumerate(names)]


def kinds() -> list[str]:
    return [entry.kind for entry in cache_entries()]


def test_what_was_used_longest_ago_goes_first(filled, monkeypatch):
    entries = cache_entries()
    assert kinds() == ["pixels", "images", "features", "instances-2", "contents", "of-a-package", "classes"]
    assert [file for entry in entries for file in sorted(entry.files, reverse=True)] == filled
    assert [entry.size for entry in entries] == [(4 if entry.kind == "features" else 2) * BLOCK for entry in entries]
    for kibibytes, gone in ((64, 0), (60, 1), (40, 4), (1, 8)):  # features go as a whole
        monkeypatch.setenv("FSBENCH_CACHE_SIZE", f"{kibibytes}kiB")
        trim_cache()
        assert [file.exists() for file in filled] == [False] * gone + [True] * (8 - gone)


def test_use_counts(cache):
    save_arrays("pixels", key(1), {"a": np.zeros(3)})
    save_json("images", key(2), [1])
    for entry in cache_entries():
        os.utime(entry.files[0], (0, 0))
    assert load_json("images", key(2)) == [1]
    assert kinds() == ["pixels", "images"]
    assert load_arrays("pixels", key(1)) is not None
    assert kinds() == ["images", "pixels"]


def test_files_of_others_stay(cache, tmp_path, monkeypatch):
    """Whatever folder FSBENCH_CACHE names by mistake, only files with names of the suite are removed."""
    names = ["thesis.npz", f"thesis-{key(1)}.npz", f"pixels-{key(1)}.tar", "features/mine.f32", "images/ab/mine.json",
             f"images/other/{key(1)[2:]}.json", f"below/pixels-{key(1)}.npz", ".hidden.new", f"photos/{key(1)}.jpg",
             f"Photos/fsbench-{key(1)}.jpg", f"fsbench-{key(1)}.npz", f"a/b/fsbench-{key(1)}.npz"]  # fmt: skip
    files = [put(cache, name, 1, 10 * DAY) for name in names]
    (cache / "pixels").mkdir()
    (cache / f"pixels/fsbench-{key(2)}.npz").symlink_to(put(tmp_path, "elsewhere", 1, 0))
    (cache / f"pixels/fsbench-{key(3)}.npz").mkdir()
    (cache / "images-2").symlink_to(put(tmp_path, f"else/fsbench-{key(4)}.json", 1, 0).parent)
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "0")
    trim_cache()
    assert clean_cache() == [] and (cache / "images-2").is_dir()
    assert all(file.exists() for file in [*files, tmp_path / "elsewhere", tmp_path / f"else/fsbench-{key(4)}.json"])


def test_what_a_killed_process_was_writing_goes_and_what_is_being_written_stays(cache, monkeypatch):
    name = ".0123456789abcdef.{}.new"
    left = put(cache / "images", name.format(17), 1, 2 * DAY)
    writing = put(cache / "images", name.format(18), 1, 5)
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "0")
    trim_cache()
    assert writing.exists() and not left.exists() and not cache_entries()


def test_the_cache_is_kept_within_its_size(cache, monkeypatch):
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "1MiB")
    values = {"a": np.zeros(20_000)}  # 160 kB
    for number in range(20):
        save_arrays("pixels", key(number), values)
        assert sum(entry.size for entry in cache_entries()) <= 1 << 20
    kept_now = {file.name for entry in cache_entries() for file in entry.files}
    assert kept_now == {f"fsbench-{key(number)}.npz" for number in range(14, 20)}
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "0")
    save_arrays("pixels", key(20), values)
    assert not cache_entries() and load_arrays("pixels", key(20)) is None


def test_features_larger_than_the_cache_are_kept_in_memory(cache, monkeypatch):
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "1kB")
    path = entry_path("features", key(1))
    store = FeatureStore(path, images=100, width=32)
    store.put(3, np.ones(32, np.float32))
    assert store.has(3) and not path.parent.exists()
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "1MB")
    put(cache, f"pixels/fsbench-{key(2)}.npz", 300, 10)
    FeatureStore(path, images=100, width=32).put(3, np.ones(32, np.float32))
    assert kinds() == ["features"]


def test_features_that_go_while_they_are_used_stay_right(cache):
    path = entry_path("features", key(1))
    store = FeatureStore(path, images=4, width=8)
    store.put(1, np.full(8, 5, np.float32))
    clean_cache(["features"])
    other = FeatureStore(path, images=4, width=8)
    assert store.has(1) and (store.rows(np.array([1])) == 5).all() and not other.has(1)


@pytest.mark.slow(2)
def test_several_processes_at_once(cache, monkeypatch):
    """Four processes fill the cache to twenty times its size: none fails, and it is bounded in the end."""
    code = (
        "import sys, numpy as np\nfrom fsbench.data.disk_cache import load_arrays, save_arrays\n"
        "for i in range(100):\n"
        "    key = f'{(int(sys.argv[1]) % 2) * 1000 + i:032x}'\n"  # two of them write the same files
        "    save_arrays('pixels', key, {'a': np.full(25_000, i)})\n"
        "    found = load_arrays('pixels', key)\n"
        "    assert found is None or (found['a'] == i).all()\n"
    )
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", "2MB")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], env=environment, stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    for process in running:
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0 and not err, err
    entries = cache_entries()
    assert 0 < sum(entry.size for entry in entries) <= 2e6 + 4 * 250_000
    assert {entry.kind for entry in entries} == {"pixels"}


@pytest.mark.parametrize(
    ("given", "size"),
    [("20GB", 20 * 10**9), ("500 MB", 5 * 10**8), ("1.5TiB", 3 << 39), ("2g", 2 * 10**9), ("0", 0), ("", 20 * 10**9)],
)
def test_sizes(monkeypatch, given, size):
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", given)
    assert cache_size() == size


@pytest.mark.parametrize("given", ["much", "20", "-1GB", "nan", "infGB", "1e9GB", "GB", "20GB!", f"{10**30}GB"])
def test_nonsense_is_refused_before_anything_starts(monkeypatch, capsys, given):
    monkeypatch.setenv("FSBENCH_CACHE_SIZE", given)
    with pytest.raises(SettingsError, match="expected a size with its unit such as 20GB"):
        cache_size()
    assert main(["list"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"fsbench: error: FSBENCH_CACHE_SIZE is '{given}'") and err.count("\n") == 1


def shown(capsys) -> list[str]:
    """The lines of `fsbench list here --all` about the cache."""
    main(["list", "here", "--all"])  # the machine of a test may lack something else
    lines = capsys.readouterr().out.splitlines()
    return [" ".join(line.split()) for line in lines[lines.index("cache:") + 1 :]]


def test_show(filled, capsys, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, *lines = shown(capsys)
    assert first == f"ok {cache}: 64 KiB of 18.6 GiB (FSBENCH_CACHE, FSBENCH_CACHE_SIZE)"
    sizes = dict(re.fullmatch(r"ok (.+): (.+), last used \d{4}-\d\d-\d\d \d\d:\d\d", line).groups() for line in lines)
    names = ["classes", "contents", "features", "images", "instances-2", "of-a-package", "pixels"]
    assert sizes == dict.fromkeys(names, "1 file, 8 KiB") | {"features": "2 files, 16 KiB"}


def test_an_empty_cache(capsys, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = shown(capsys)
    assert line.startswith(f"ok {cache}: 0 bytes of ")
    assert main(["list", "here", "--clean"]) == 0
    assert capsys.readouterr().out == f"{cache}: removed 0 files, 0 bytes\n"
    assert not cache.exists()


def test_clean(filled, capsys, cache):
    assert main(["list", "here", "--clean", "features", "images"]) == 0
    assert capsys.readouterr().out == f"{cache}: removed 3 files, 24 KiB\n"
    assert kinds() == ["pixels", "instances-2", "contents", "of-a-package", "classes"]
    for age, file in enumerate(filled):
        if file.exists():
            os.utime(file, (time.time() - age * DAY,) * 2)
    assert main(["list", "here", "--clean", "--older-than", "4.5"]) == 0
    assert kinds() == ["instances-2", "pixels"]
    assert main(["list", "here", "--clean"]) == 0 and not cache_entries()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--clean", "everything"], "has nothing of the kind 'everything'; there are: classes, contents,"),
        (["--clean", "--older-than", "nan"], "--older-than is nan, expected a number from 0 to 36500"),
        (["--clean", "--older-than=-1"], "--older-than is -1, expected a number from 0 to 36500"),
        (["--older-than", "3"], "--older-than was given without --clean"),
    ],
)
def test_clean_refuses(filled, capsys, words, expected):
    assert main(["list", "here", *words]) == 2
    err = capsys.readouterr().err
    assert expected in err and err.count("\n") == 1 and all(file.exists() for file in filled)
