"""The header of a manifest: whole and of the right types wherever it is read."""

from pathlib import Path

import pytest

from fsbench.base.errors import RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.cli.main import main
from fsbench.data.episodes.header import check_header
from fsbench.data.episodes.manifest import Manifest, read_header, read_manifest
from tests.fsbench.runs import HEADER, some_header

FILE = Path("m.jsonl")


@pytest.mark.parametrize("name", HEADER)
def test_an_entry_that_is_not_there_is_named(name, tmp_path):
    entries = {key: value for key, value in HEADER.items() if key != name}
    with pytest.raises(RecordError, match=f"m.jsonl has a header without {name}; expected one of this version"):
        check_header(entries, FILE)


def test_a_manifest_without_a_protocol_is_refused_by_its_commands(tmp_path, capsys):
    Manifest({key: value for key, value in HEADER.items() if key != "protocol"}, ()).write(tmp_path / "m.jsonl")
    for command in (["show"], ["verify"], ["diff", str(tmp_path / "m.jsonl")]):
        verb, *more = command
        assert main(["data", "manifest", verb, str(tmp_path / "m.jsonl"), *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "m.jsonl has a header without protocol; expected one of this version of fsbench" in line


def test_entries_of_a_protocol_of_its_own_are_kept(tmp_path):
    manifest = Manifest(HEADER | {"offset": 3, "kind": None}, ())
    manifest.write(tmp_path / "m.jsonl")
    read = read_header(tmp_path / "m.jsonl", manifest.sha256)
    assert read.protocol_entries == {"offset": 3} == manifest.header.protocol_entries and read == manifest.header
    assert some_header().protocol_entries == {}


def test_the_frozen_episodes_have_no_other_entries():
    for file in sorted((BENCHMARKS / "manifests").glob("*/*fold0*1way1shot.jsonl.gz")):
        manifest = read_manifest(file)
        assert not manifest.header.protocol_entries
        assert manifest.header.model_dump(exclude_unset=True) == manifest.entries
