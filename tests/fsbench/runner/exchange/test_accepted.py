"""Accepted runs: what is kept of them, what takes whose place, and what becomes of a change's scores beside them."""

import numpy as np
import pytest

import fsbench
from fsbench.cli.main import main
from fsbench.records.record import find_records
from tests.fsbench.runs import rewrite


@pytest.fixture
def command(tmp_path):
    """Return a function that holds runs against the accepted ones in `accepted`, and returns the exit status."""
    return lambda runs, *more: main(["compare", str(runs), "--accepted", str(tmp_path / "accepted"), *more])


def test_a_run_is_accepted_with_the_files_of_a_bundle(make, command, tmp_path):
    record = make("first", 0)
    (record.path / "notes.txt").write_text("mine")
    assert command(record.path, "--accept") == command(record.path, "--accept") == 0
    (accepted,) = find_records(tmp_path / "accepted")
    assert accepted.path == tmp_path / "accepted" / record.run.id
    assert accepted.every_episode.equals(record.every_episode)
    names = {path.name for path in accepted.path.iterdir()}
    assert names == {"run.json", "episodes.parquet", "manifest.jsonl", ".fsbench-files.txt"}


def test_accepting_a_changed_test_removes_the_earlier_one(make, command, tmp_path, capsys):
    record = make("first", 0)
    assert command(record.path, "--accept") == 0
    (earlier,) = (tmp_path / "accepted").iterdir()
    record = rewrite(record, header={"dropped_classes": [77]}, dropped_classes=["rare"])
    (earlier / "notes.txt").write_text("mine")
    assert command(record.path, "--accept") == 2
    assert "notes.txt" in capsys.readouterr().err and (earlier / "run.json").is_file()
    assert list((tmp_path / "accepted").iterdir()) == [earlier]
    (earlier / "notes.txt").unlink()
    assert command(record.path, "--accept") == 0
    assert f"no longer accepted, removed: {earlier}" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "accepted").iterdir()] == [record.run.id]


def test_what_is_accepted_of_another_test_or_method_stays(make, command, tmp_path):
    record = make("first", 0, empty=False)
    assert command(record.path, "--accept") == 0
    for number, change in enumerate(({"header": {"fold": 1}}, {"identity": {"method": {"name": "other"}}}), 2):
        record = rewrite(record, **change)
        assert command(record.path, "--accept") == 0
        assert len(list((tmp_path / "accepted").iterdir())) == number


def test_a_change_is_held_against_the_accepted_run(blocks_folder, command, tmp_path, capsys):
    """Answers that have only some rows of the truth are worse, and say so in the summary, too."""
    test = fsbench.load_test("folder", root=blocks_folder, fold=1, episodes=24, protocol="pfenet")

    def answer(rows, runs):
        def model(episode):
            truth = test.data.label_map(episode.query_name)
            mask = sum((way * (truth == number) for way, number in enumerate(episode.classes, 1)), 0 * truth)
            return mask * (np.arange(len(mask)) % rows == 0)[:, None]

        fsbench.evaluate(model, test, name="mine", runs=runs, progress=False)
        return runs

    good, bad, summary = answer(1, tmp_path / "good"), answer(3, tmp_path / "bad"), tmp_path / "summary.md"
    given = ["--summary", str(summary)]
    assert command(good, *given) == 2 and "there is no folder" in capsys.readouterr().err
    (tmp_path / "accepted").mkdir()
    assert command(good, *given) == 0 and command(good, "--fail-on", "changed") == 1
    assert "no run is accepted yet" in summary.read_text()
    assert command(good, "--accept") == 0
    assert command(good, "--fail-on", "changed", *given) == 0
    assert "mine: equal: all 24 episodes have the accepted counts" in summary.read_text()
    capsys.readouterr()
    assert command(bad, *given) == command(bad, "--fail-on", "changed") == 1 and command(bad, "--fail-on", "never") == 0
    assert capsys.readouterr().out.count("mine: worse: mIoU") == 3
    assert "mine: worse: mIoU" in summary.read_text()
    assert "accepted is better than now with these weights: mIoU 100.00 against " in summary.read_text()
    assert command(bad, "--accept") == 0
    assert command(good) == 0 and command(good, "--fail-on", "changed") == 1
    assert capsys.readouterr().out.count("mine: better: mIoU") == 2
    assert command(good, "--method", "min") == 2
    assert "did you mean 'mine'?" in capsys.readouterr().err


def test_options_of_one_comparison_are_none_of_the_other(capsys):
    for words, named in (
        (["--method", "a", "--summary", "s.md"], "--method, --summary"),
        (["--accepted", "a", "--metrics", "mIoU", "--by", "size"], "--metrics, --by and --accepted"),
    ):
        assert main(["compare", "runs", *words]) == 2
        err = capsys.readouterr().err
        assert named in err and len(err.splitlines()) == 1
