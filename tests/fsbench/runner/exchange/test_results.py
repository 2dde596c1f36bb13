"""Results repositories: what is written is read, what others put there is not believed, and what the Hub takes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from fsbench.base.errors import RecordError, SettingsError
from fsbench.cli.main import main
from fsbench.doors.runs import load_runs
from fsbench.records.card import check_card
from fsbench.records.description import title
from fsbench.records.grouping import short_test_name
from fsbench.records.record import Record, find_records
from fsbench.records.result_folder import RESULT, find_result_folders
from fsbench.runner.exchange.bundle import unpack
from fsbench.runner.exchange.hub import MARK, HubOptions, write_hub_files
from fsbench.runner.exchange.results import pack_result, write_results
from fsbench.runner.exchange.verify import verify
from fsbench.scores.estimate import estimates
from tests.fsbench.runner.exchange.test_bundle import CARD, cards_of, with_scores
from tests.fsbench.runs import rewrite

MADE_BY, LICENCE = "fsbench 1", "CC-BY-4.0"


def official(record: Record) -> Record:
    """Return a record of a test with the protocol's own number of episodes, which is no trial."""
    return with_scores(rewrite(record, header={"official_episodes": record.header.requested}))


@pytest.fixture(scope="module")
def runs(shared_make) -> list[Record]:
    """Two folds of one method, which are all, and one fold of another."""
    found = [official(shared_make("first", fold)) for fold in (0, 1)]
    assert found[0].header.folds == 2
    return [*found, official(shared_make("second", 0, 3))]


@pytest.fixture
def repository(runs, tmp_path) -> Path:
    write_results(runs, cards_of(runs), LICENCE, MADE_BY, tmp_path / "results", predictions=False)
    return tmp_path / "results"


def test_the_layout_is_read_as_the_runs_are(repository, runs, tmp_path):
    folders = find_result_folders(repository)
    assert [folder.parent.name for folder in folders] == ["first", "second"]
    assert folders[0].name == folders[1].name  # of one test
    read = {record.run.id: record for record in find_records(repository)}
    assert read.keys() == {record.run.id for record in runs}
    assert all(record.every_episode.equals(read[record.run.id].every_episode) for record in runs)
    names = {path.name for path in repository.rglob("*") if path.is_file()}
    assert names == {"result.json", "card.yaml", "run.json", "episodes.parquet", "manifest.jsonl", ".fsbench-files.txt"}
    table = load_runs(repository).table(trivial=False)
    plain = load_runs(*[record.path for record in runs]).table(trivial=False)
    assert table.frame.select("method", "fold", "mIoU").equals(plain.frame.select("method", "fold", "mIoU"))
    (block,) = table.blocks
    assert any("first, second: of a result folder" in note and "not verified" in note for note in block.notes)
    assert not any("result folder" in note for note in plain.blocks[0].notes)
    assert block.cards["first"].trials == "3" and "trials" in block.cards["first"].stated
    assert not list(repository.rglob("rows")), "a checkout stays as it is"
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    write_results(runs, cards_of(runs), LICENCE, MADE_BY, repository, predictions=False)
    assert before == {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def test_a_packed_folder_is_the_bundle_of_its_runs(repository, runs, tmp_path):
    folder = find_result_folders(repository)[0]
    pack_result(folder, tmp_path / "packed.fsb")
    with unpack(tmp_path / "packed.fsb") as (_, listing):
        assert set(listing.runs) == {runs[0].run.id, runs[1].run.id}
        assert listing.card_of("first") == check_card(CARD, "card") and listing.licence == LICENCE
    of_bundle, of_folder = (verify(place)[1] for place in (tmp_path / "packed.fsb", folder))
    assert of_bundle == of_folder and {finding.status for finding in of_folder} == {"ok", "not checked"}


def edit(file: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def forged_row(run: Path) -> None:
    (run / "rows").mkdir()
    (run / "rows/0123.json").write_text("{}")


def other_scores(run: Path) -> None:
    edit(run / "run.json", lambda values: values["scores"].update(mIoU=99.0))


def relisted_link(run: Path) -> None:
    target = run.parents[3] / "elsewhere.jsonl"
    shutil.move(run / "manifest.jsonl", target)
    (run / "manifest.jsonl").symlink_to(target)


def renamed(run: Path) -> None:
    listing = run.parent / RESULT
    other = run.name[:-10] + "0" * 10
    edit(listing, lambda values: values["runs"].update({other: values["runs"].pop(run.name)}))
    run.rename(run.with_name(other))


def unlisted(run: Path) -> None:
    shutil.copytree(run, run.with_name(f"x{run.name}"))


def no_listing(run: Path) -> None:
    (run.parent / RESULT).write_text("[")


def other_files(run: Path) -> None:
    edit(run.parent / RESULT, lambda values: values["runs"][run.name].update({"setup.py": "0" * 64}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forged_row, "holds 'rows', which result.json does not list"),
        (other_scores, "another sha256 than result.json lists"),
        (relisted_link, "is a link or holds one"),
        (renamed, "which its name does not say"),
        (unlisted, "does not list the run x"),
        (no_listing, "cannot read"),
        (other_files, "has or lacks 'setup.py'"),
    ],
)
def test_what_others_put_there_is_left_out(change: Callable[[Path], None], words, repository, tmp_path, capsys):
    run = next(path.parent for path in sorted(repository.rglob("run.json")) if "second" in path.parts)
    change(run)
    loaded = load_runs(repository)
    assert words in " ".join(loaded.left_out)
    assert loaded["first"] if len(loaded) == 1 else {result.name for result in loaded} >= {"first"}
    assert main(["report", "--board", str(repository), "--out", str(tmp_path / "site")]) == 0
    page = (tmp_path / "site/index.html").read_text()
    assert 'data-method="first"' in page and 'data-method="second"' not in page
    capsys.readouterr()
    assert main(["verify", str(repository)]) == 1
    assert "failed" in capsys.readouterr().out


def test_a_card_of_somebody_else_stops_nobodys_table(repository):
    folder = find_result_folders(repository)[1]
    (folder / "card.yaml").write_text("method: second\ntrials: [[1]]\nnovel_pixels: perhaps\n")
    runs = load_runs(repository)
    table = runs.table(trivial=False)
    assert table.frame["method"].unique().to_list() == ["first"] and "novel_pixels" in runs.left_out[0]
    with pytest.raises(RecordError, match="is no card"):
        verify(folder)
    (folder / "card.yaml").write_text("method: second\ncheckpoint_choice: nothing trained\n")
    assert "failed" not in {finding.status for finding in verify(folder)[1]}
    (folder / "card.yaml").write_text("trials: 1\n")
    with pytest.raises(RecordError, match="states no method"):
        verify(folder)


def test_folders_are_replaced_whole_and_lose_no_run(repository, runs):
    folder = find_result_folders(repository)[0]
    with pytest.raises(SettingsError, match="which is not among those given"):
        write_results(runs[:1], cards_of(runs[:1]), LICENCE, MADE_BY, repository, predictions=False)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not known to have written"):
        write_results(runs, cards_of(runs), LICENCE, MADE_BY, repository, predictions=False)
    assert (folder / "notes.txt").read_text() == "mine"
    again = [*find_records(repository / "second"), *runs[:2]]
    (folder / "notes.txt").unlink()
    write_results(again, cards_of(again), "CC0-1.0", MADE_BY, repository, predictions=False)
    assert json.loads((folder / RESULT).read_text())["licence"] == "CC0-1.0"


def test_the_board_reads_a_checkout_with_its_history(repository, tmp_path):
    def git(*words: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(repository), *author, *words], capture_output=True, check=True)

    git("init", "-q", "-b", "main")
    for name in ("second", "first"):
        git("add", name)
        git("commit", "-qm", name, "--date", "2024-02-03T04:05:06")
    assert main(["report", "--board", str(repository), "--out", str(tmp_path / "site"), "--strict"]) == 0
    shown = [line.split("/")[0] for line in (tmp_path / "site/board.log").read_text().splitlines()]
    assert shown == ["shown: second", "shown: first"], "the older hand-in first"
    assert "handed in" in (tmp_path / "site/bundles.html").read_text()


def test_the_hub_reads_what_is_written(runs, tmp_path):
    """By the Hub's own library, which is what reads such files."""
    options = HubOptions({"blocks": "me/blocks", str(runs[0].header.dataset): "me/few-shot"}, "https://example.org/r")
    files, lines = write_hub_files(runs, cards_of(runs), LICENCE, options, tmp_path)
    (written,) = (tmp_path / "first/.eval_results").iterdir()
    assert [file.parent.name for file in files] == [".eval_results", "first", "second"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(written.read_text()))
    mean = estimates([r.protocol.statistics(r.episodes, r.header) for r in runs[:2]])["mIoU"]
    assert (entry.dataset_id, entry.task_id, entry.value) == ("me/few-shot", written.stem, round(mean.value, 4))
    assert entry.source_url == "https://example.org/r" and entry.notes.startswith("mIoU in percent; first; ")
    assert "mean of 2 folds" in entry.notes and entry.verify_token is None
    assert lines == [line for line in lines if "second" in line and "only fold 0 of 2" in line] and len(lines) == 1
    section = (tmp_path / "first/model-card.md").read_text()
    assert section.startswith(MARK) and f"| first | b | {mean.value:.2f}" in section
    assert "| trials | 3 (stated) |" in section
    assert "only fold 0 of 2: no result" in (tmp_path / "second/model-card.md").read_text()


def test_a_trial_and_an_unnamed_benchmark_are_no_result(shared_make, runs, tmp_path):
    trials = [with_scores(shared_make("third", fold)) for fold in (0, 1)]
    _, lines = write_hub_files(trials, cards_of(trials), LICENCE, HubOptions({}), tmp_path)
    assert "a trial, not a result" in lines[0] and not list(tmp_path.rglob("*.yaml"))
    _, lines = write_hub_files(runs[:2], cards_of(runs[:2]), LICENCE, HubOptions({}), tmp_path)
    assert "--hub-dataset" in lines[0] and not list(tmp_path.rglob("*.yaml"))
    (tmp_path / "first/model-card.md").write_text("# mine")
    with pytest.raises(SettingsError, match="none that fsbench wrote"):
        write_hub_files(runs[:2], cards_of(runs[:2]), LICENCE, HubOptions({}), tmp_path)
    (tmp_path / "first/model-card.md").unlink()
    options = HubOptions({str(runs[0].header.dataset): "me/few-shot"})
    write_hub_files(runs[:2], cards_of(runs[:2]), LICENCE, options, tmp_path)
    (written,) = (tmp_path / "first/.eval_results").iterdir()
    written.write_text("- mine\n")
    with pytest.raises(SettingsError, match="none that fsbench wrote"):
        write_hub_files(runs[:2], cards_of(runs[:2]), LICENCE, options, tmp_path)
    assert written.read_text() == "- mine\n"


def test_two_methods_never_share_a_folder(shared_make, tmp_path):
    """Whose names become equal as a folder's, on one test or two, in one call or two."""
    one = rewrite(official(shared_make("fifth", 0)), identity={"method": {"name": "my own"}})
    other = rewrite(shared_make("sixth", 0), identity={"method": {"name": "my:own"}}, header={"official_episodes": 77})
    with pytest.raises(SettingsError, match="my own and my:own would have one folder"):
        write_results([one, other], cards_of([one, other]), LICENCE, MADE_BY, tmp_path)
    assert not list(tmp_path.iterdir())
    write_results([one], cards_of([one]), LICENCE, MADE_BY, tmp_path)
    with pytest.raises(SettingsError, match="my own and my:own would have one folder"):
        write_results([other], cards_of([other]), LICENCE, MADE_BY, tmp_path)


def test_a_later_call_keeps_earlier_tests_in_the_section(shared_make, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text(yaml.safe_dump(CARD))
    record = official(shared_make("seventh", 0))
    for tests in (1, 2):
        record = rewrite(record, header={"official_episodes": record.header.requested + tests - 1})
        assert main(["bundle", str(record.path), "--card", str(card), "--hub", str(tmp_path / "results")]) == 0
        section = (tmp_path / "results/seventh/model-card.md").read_text()
        assert section.count("| seventh | b |") == tests, section


def test_tests_of_equal_title_have_headings_of_their_own(shared_make, tmp_path):
    record = official(shared_make("eighth", 0))
    other = rewrite(official(shared_make("eighth", 0, 3)), header={"all_lists_sha256": "0" * 64})
    names = [short_test_name(r) for r in (record, other)]
    assert title([record]) == title([other])
    write_hub_files([record, other], cards_of([record, other]), LICENCE, HubOptions({}), tmp_path)
    lines = (tmp_path / "eighth/model-card.md").read_text().splitlines()
    headings = [line for line in lines if line.startswith("**")]
    assert len(headings) == 2 and all(f"({name})" in line for name, line in zip(names, headings, strict=True))
    assert sum(line.startswith("| eighth | b |") for line in lines) == 2


def test_accepting_a_changed_test_removes_the_earlier_one(shared_make, tmp_path, capsys):
    record, accepted = shared_make("ninth", 0), tmp_path / "accepted"
    command = ["compare", str(record.path), "--accepted", str(accepted), "--accept"]
    assert main(command) == 0
    (earlier,) = find_result_folders(accepted)
    record = rewrite(record, header={"official_episodes": 77})
    (earlier / "notes.txt").write_text("mine")
    assert main(command) == 2
    assert "notes.txt" in capsys.readouterr().err and (earlier / RESULT).is_file()
    (earlier / "notes.txt").unlink()
    assert main(command) == 0
    assert f"no longer accepted, removed: {earlier}" in capsys.readouterr().out
    (left,) = find_result_folders(accepted)
    assert left != earlier and not earlier.exists()


def test_accepting_another_test_keeps_what_is_accepted(shared_make, tmp_path):
    record, accepted = shared_make("tenth", 0), tmp_path / "accepted"
    command = ["compare", str(record.path), "--accepted", str(accepted), "--accept"]
    assert main(command) == 0
    rewrite(record, header={"protocol": "hsnet"})
    assert main(command) == 0
    assert len(find_result_folders(accepted)) == 2


def test_names_of_others_are_no_markup_of_a_card(shared_make, tmp_path):
    name = "a|b<script>[x](y)"
    record = official(shared_make("fourth", 0))
    named = rewrite(record, identity={"method": {"name": name}})
    write_hub_files([named], cards_of([named]), LICENCE, HubOptions({}), tmp_path)
    (section,) = tmp_path.rglob("model-card.md")
    assert "<script>" not in section.read_text() and "| a\\|b\\<script\\>\\[x\\](y) |" in section.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hub-dataset", "demo=me/demo"], "--hub-dataset and --hub-source say what --hub FOLDER writes"),
        (["--hub", "out", "--hub-dataset", "demo"], "--hub-dataset is 'demo', expected DATASET=OWNER/NAME"),
        (["--hub", "out", "--hub-dataset", "demo=me"], "the benchmark 'me', expected OWNER/NAME as on the Hub"),
        (["--hub", "out", "--hub-source", "here"], "--hub-source is 'here', expected an address"),
    ],
)
def test_options_that_do_not_fit(words, message, runs, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.yaml").write_text("trials: 1\n")
    assert main(["bundle", str(runs[2].path), "--card", "card.yaml", *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
