"""`fsbench data manifest` and `fsbench list protocols` as a user types them, and a run on a manifest of a file."""

import re
import shutil
from dataclasses import replace

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.data.episodes.manifest import read_manifest
from fsbench.records.record import find_records


@pytest.fixture
def folder(small_demo):
    return ["--dataset", "folder", "--data-root", str(small_demo)]


@pytest.fixture
def build(folder, capsys, tmp_path):
    """build(name, *arguments) -> the file that was written."""

    def call(name, *arguments):
        path = tmp_path / name
        assert main(["data", "manifest", "build", *folder, "--out", str(path), *arguments]) == 0
        assert str(path) in capsys.readouterr().out
        return path

    return call


def test_build_show_verify(build, folder, capsys):
    path = build("new/two.jsonl.gz", "--fold", "1", "--way", "2", "--shot", "3", "--episodes", "12")
    manifest = read_manifest(path)
    assert [len(e.classes) for e in manifest.episodes] == [2] * 12 and manifest.images
    assert main(["data", "manifest", "show", str(path), "--episodes", "2"]) == 0
    shown = capsys.readouterr().out
    assert manifest.sha256 in shown and "2-way 3-shot" in shown and "image lists: derived" in shown
    first, names = manifest.episodes[0], manifest.header.class_names
    assert f"0  query {first.query} ({names[str(first.query_class)]})  {names[str(first.classes[0])]}: " in shown
    assert f"0  query {manifest.episodes[0].query} " in shown and "\n2  query" not in shown
    assert main(["data", "manifest", "verify", str(path), *folder]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "fits the data: photos and label maps are those it was made with",
        "the local lists draw the same episodes",
    ]


def test_episodes_that_only_calibrate_are_told_apart(build, capsys):
    path = build("presence.jsonl", "--protocol", "presence", "--episodes", "12", "--drop-small", "--names-only")
    manifest = read_manifest(path)
    assert len(manifest.episodes) == 24
    assert main(["data", "manifest", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("12 episodes and 12 that only calibrate, demo fold 0,")
    queries = re.findall(r"query of (\d+) episodes", shown)
    assert len(queries) == len(manifest.class_ids) and sum(map(int, queries)) == 12


def test_names_only_is_said(build, folder, capsys):
    path = build("bare.jsonl", "--protocol", "hsnet", "--episodes", "9", "--names-only")
    assert not read_manifest(path).images
    assert main(["data", "manifest", "verify", str(path), *folder]) == 0
    assert "every image is there and shows its class" in capsys.readouterr().out


def test_verify_tells_a_list_of_ones_own(build, folder, capsys):
    """A file names a protocol, and drawing its episodes again tells whether they are of it."""
    path = build("m.jsonl", "--protocol", "pfenet", "--episodes", "9", "--names-only")
    first, second, *rest = read_manifest(path).episodes
    swapped = (replace(second, number=0), replace(first, number=1), *rest)
    replace(read_manifest(path), episodes=swapped).write(path)
    assert main(["data", "manifest", "show", str(path)]) == 0
    assert ", names the protocol pfenet v1, sha256 " in capsys.readouterr().out
    assert main(["data", "manifest", "verify", str(path), *folder]) == 1
    out, err = capsys.readouterr()
    assert "names the protocol pfenet v1" in out.splitlines()[0]
    assert out.splitlines()[-1] == "no test of the protocol: list of one's own, counted by pfenet v1"
    assert "2 of 9 episodes are others, first 0" in err


def test_verify_names_what_changed(build, small_demo, tmp_path, capsys):
    path = build("m.jsonl", "--episodes", "9")
    copy = tmp_path / "copy"
    shutil.copytree(small_demo, copy)
    query = read_manifest(path).episodes[0].query
    photo = next((copy / "JPEGImages").glob(f"{query}.*"))
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert main(["data", "manifest", "verify", str(path), "--dataset", "folder", "--data-root", str(copy)]) == 1
    assert f"does not fit the data: 1 photos differ from those it was made with: {query}" in capsys.readouterr().out


def test_diff(build, capsys):
    one, same = (build(name, "--episodes", "9") for name in ("one.jsonl", "same.jsonl.gz"))
    other = build("other.jsonl", "--episodes", "9", "--shot", "2")
    assert main(["data", "manifest", "diff", str(one), str(same)]) == 0
    assert capsys.readouterr().out == "equal\n"
    assert main(["data", "manifest", "diff", str(one), str(other)]) == 1
    printed = capsys.readouterr().out
    assert "shot: 1 | 2" in printed and "9 of 9 episodes differ; lengths 9 | 9" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--protocol", "hsnet", "--way", "2"],
            "protocol hsnet is 1-way, found way 2; choose way 1, or the protocol fscs",
        ),
        (
            ["--protocol", "hsnet", "--test-seed", "4294967296"],
            "is 4294967296, expected a whole number from 0 to 4294967295",
        ),
        (["--test-seed", "3"], "protocol fscs seeds episodes by their index; found test seed 3"),
        (["--lists", "somewhere"], "the data set folder has no setting lists; it has root"),
        (["--out", "m.txt"], "--out is m.txt, expected a name that ends in .jsonl or .jsonl.gz"),
    ],
)
def test_what_cannot_be_built_is_said(folder, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "manifest", "build", *folder, "--out", "m.jsonl", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("m*"))


def test_a_file_that_is_no_manifest_is_not_replaced(build, folder, capsys, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"text": "my own"}\n')
    assert main(["data", "manifest", "build", *folder, "--out", str(mine)]) == 2
    assert f"--out is {mine}, which is there and cannot be read as a manifest" in capsys.readouterr().err
    assert mine.read_text() == '{"text": "my own"}\n'
    (tmp_path / "two.jsonl").touch()  # as mktemp makes one
    for episodes in (2, 3):
        path = build("two.jsonl", "--episodes", str(episodes), "--names-only")
        assert len(read_manifest(path).episodes) == episodes


def test_protocols_stand_side_by_side(capsys):
    assert main(["list", "protocols", "fscs", "pfenet"]) == 0
    printed = capsys.readouterr().out
    assert "fscs (version 1)" in printed and "pfenet (version 1)" in printed and "empty queries" in printed
    assert main(["list", "protocols", "alpnet", "bam", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("|  | alpnet (version 1) | bam (version 1) |")


@pytest.mark.slow
def test_a_run_on_a_manifest_of_a_file_is_the_run_that_draws_it(build, warm, bench_arguments, tmp_path, capsys):
    """The file says what is tested; the record is the same as that of the settings, found and not made again."""
    path = build("fold0.jsonl", "--protocol", "hsnet", "--shot", "2", "--episodes", "9")
    first = warm(*bench_arguments("prototype", tmp_path / "runs", "--manifest", str(tmp_path / "fold{fold}.jsonl")))
    assert first.returncode == 0, first.stderr
    (record,) = find_records(tmp_path / "runs")
    assert record.run.identity.manifest_sha256 == read_manifest(path).sha256
    assert record.manifest.header.protocol == "hsnet" and "-hsnet-fold0-1way2shot-" in record.path.name
    frame = record.episodes.filter(pl.col("slot") == 1)
    assert (frame["void"] + frame["valid"]).unique().to_list() == [128 * 128]  # metrics at the input size
    again = warm(*bench_arguments("prototype", tmp_path / "runs", "--protocol", "hsnet", "--shot", "2"))
    assert again.returncode == 0 and ": done before, in " in again.stderr
    clash = ["--manifest", str(path), "--shot", "1"]
    assert main(bench_arguments("prototype", tmp_path / "runs", *clash)) == 2
    assert "has shot 2, the settings say 1; give the settings it was made for" in capsys.readouterr().err
    clash = ["--manifest", str(path), "--data.test.seed=7"]
    assert main(bench_arguments("prototype", tmp_path / "runs", *clash)) == 2
    assert "has seed 0, the settings say 7" in capsys.readouterr().err
    path.write_text(path.read_text().replace('"index":3,', '"index":300,'))
    assert main(bench_arguments("prototype", tmp_path / "runs", "--manifest", str(path))) == 2
    assert "it was changed since" in capsys.readouterr().err
