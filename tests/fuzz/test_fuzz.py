"""Some hundred mutated files of all formats, and those that were once mishandled (`tests/corpus`)."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.formats import FORMATS
from tests.fuzz.harness import problem
from tests.fuzz.mutations import cases, mutate

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
"""Files named <format>--<what was wrong>."""


@settings(max_examples=150, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(cases)
def test_mutated_files_end_well(case):
    name, *steps = case
    assert problem(name, mutate(name, *steps)) is None


@pytest.mark.parametrize("name", FORMATS)
def test_valid_files_are_read(name, tmp_path):
    """Else a reader that refuses everything would pass."""
    path = tmp_path / FORMATS[name].name
    path.write_bytes(mutate(name, [], []))
    if name in ("image list", "kit"):  # whose images or hash are elsewhere
        return
    FORMATS[name].read(path)


@pytest.mark.parametrize("file", sorted(CORPUS.iterdir()), ids=lambda file: file.name)
def test_past_failures_end_well(file):
    assert problem(file.name.partition("--")[0].replace("_", " "), file.read_bytes()) is None


@pytest.mark.slow(3)
def test_the_harness_finds_what_it_looks_for(monkeypatch):
    def noisy(path: Path) -> None:
        import sys

        print("one\ntwo", file=sys.stderr)

    def forever(path: Path) -> None:
        while True:
            pass

    readers = {
        "ValueError": lambda path: int("x"),
        "files were made": lambda path: path.with_name("new").touch(),
        "files were": lambda path: path.write_bytes(b"changed"),
        "2 lines": noisy,
        "took more than 1 GiB": lambda path: len(b"a" * (400 << 20)) and None,
        "took more than 1 s": forever,
    }
    monkeypatch.setattr("tests.fuzz.harness.MEMORY_KIB", 20 << 10)
    for reason, reader in readers.items():
        if "GiB" in reason:
            gc.collect()  # what earlier tests left, freed meanwhile, would hide what a reader takes
        if reader is forever:  # the others may take their time on a busy machine
            monkeypatch.setattr("tests.fuzz.harness.SECONDS", 1)
        monkeypatch.setitem(FORMATS, "names", type(FORMATS["names"])("x", b"", reader))
        assert str(problem("names", b"a")).startswith(reason)
