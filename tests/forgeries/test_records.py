"""Forged records: whatever a run.json says otherwise than its own entries, its manifest and its counts is found."""

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.cli.main import main
from fsbench.protocols.kit.answers import Answers, AnswersError, read_kit_folder
from fsbench.records.card import STATEMENTS as CARD
from fsbench.records.card import Card, check_card
from fsbench.records.counts import hashes
from fsbench.records.record import Record, read_record
from fsbench.records.run import Entries, Identity, Run
from fsbench.records.statements import STATEMENTS
from fsbench.runner.exchange.bundle import STATEMENTS as LISTING
from fsbench.runner.exchange.bundle import Listing, write_bundle
from fsbench.runner.regression.outcome import STATEMENTS as OUTCOME
from fsbench.runner.regression.outcome import Outcome, read_outcome
from tests.fsbench.conftest import record_maker
from tests.fsbench.runner.exchange.test_bundle import altered, entry
from tests.fsbench.runs import rewrite

Values = dict[str, Any]
TRAINED = {"max_epochs": 3, "batch_size": 4}
HASH = "0" * 64


@pytest.fixture(scope="module")
def honest(blocks_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A record of 24 episodes, with its scores."""
    record = record_maker(blocks_folder, tmp_path_factory.mktemp("honest"))("mine", 0, 2)
    scores = record.protocol.statistics(record.episodes, record.header).scores()
    assert read_record(rewrite(record, scores=scores).path).every_episode.height == 48  # type: ignore[union-attr]
    return record


def has(**entries: Any) -> Callable[[Values], None]:
    """Put entries into a run.json, groups into what stands there."""

    def change(run: Values) -> None:
        for name, value in entries.items():
            run[name] = run.get(name, {}) | value if isinstance(value, dict) else value

    return change


def is_run_with(**identity: Any) -> Callable[[Values], None]:
    """Put entries into the identity, and the hash of what it is then into the id."""

    def change(run: Values) -> None:
        has(identity=identity)(run)
        run["id"] = f"{run['id'][:-11]}-{Identity.model_validate(run['identity']).digits}"

    return change


def both(*changes: Callable[[Values], None]) -> Callable[[Values], None]:
    return lambda run: [change(run) for change in changes] and None


FORGED: dict[str, tuple[Callable[[Values], None], str]] = {
    "counts": (has(counts_sha256=HASH), "does not hold the counts that run.json names"),
    "columns": (has(columns_sha256={"rom": HASH}), "the column rom does not hold the values that run.json names"),
    "truth": (has(truth_sha256=HASH), "does not hold the truth that run.json names"),
    "id": (has(id="mine-0123456789"), "the id is mine-0123456789, and that of a run with these settings ends with"),
    "method": (has(identity={"method": {"name": "other"}}), "that of a run with these settings ends with their hash"),
    "fold": (is_run_with(fold=1), "the fold is 1, and the manifest's is 0"),
    "data set": (is_run_with(dataset={"name": "pascal"}), "the data set is pascal, and the manifest's is blocks"),
    "annotation": (has(identity={"support_annotation": "circle"}), "identity.support_annotation is 'circle'"),
    "precision": (has(identity={"precision": "8-true"}), "identity.precision is '8-true'"),
    "cache": (
        has(identity={"backbone": {"name": "b", "weights": "w", "cache_dtype": "int8"}}),
        "cache_dtype is 'int8'",
    ),
    "origin": (has(weights={"origin": "heaven"}), "weights.origin is 'heaven'"),
    "untrained": (is_run_with(training=TRAINED), "nothing was trained, and its settings have a training"),
    "trained": (has(weights={"origin": "trained here"}), "trained here, and its settings have no training"),
    "authors": (has(weights={"origin": "the authors' checkpoint"}), "and its settings have no checkpoint"),
    "training": (
        both(
            is_run_with(training=TRAINED),
            has(weights={"origin": "trained here", "training": {"settings": TRAINED | {"filter_novel": True}}}),
        ),
        "settings of the training is not that of the run",
    ),
    "checkpoint": (
        both(
            is_run_with(training={"checkpoint_sha256": HASH}),
            has(weights={"origin": "another run"}, checkpoint_sha256="1" * 64),
        ),
        "checkpoint_sha256 is 111",
    ),
    "variant": (has(checkpoint_variant="large"), "checkpoint_variant is 'large'"),
    "supervision": (has(told={"supervision": ["magic"]}), "expected 'masks', 'boxes', 'points'"),
    "seen classes": (has(told={"saw_test_classes": "never"}), "told.saw_test_classes is 'never'"),
    "told images": (has(told={"labelled_images": 5}), "5 labelled images a class were told, and its settings have no"),
    "handed in": (has(handed_in={"answers_sha256": HASH}), "nothing trained, and these are answers that were"),
    "not handed in": (has(weights={"origin": None}), "the origin of the weights is None, and these are a run of"),
    "kept silent": (lambda run: run.pop("told"), "it does not know what the method was told, and its answers were run"),
    "no training": (
        both(is_run_with(training=TRAINED | {"validation": "novel"}), has(weights={"origin": "trained here"})),
        "settings of the training is not that of the run",
    ),
    "answers": (is_run_with(answers_sha256=HASH), "the hash of the answers is None, and in the identity it is 000"),
    "asked alone": (has(asked_alone=25), "25 episodes were asked alone, and there are 24"),
    "presence": (has(presence="by luck"), "the rule of presence is 'by luck', expected predicted or any_pixel"),
    "parameters": (has(cost={"total_parameters": 4}), "86020 trained of 4 parameters"),
    "rate": (has(cost={"evaluation_seconds": 9.0}), "12.345 episodes a second in 9.0 seconds, of 24 episodes"),
    "seconds": (has(cost={"evaluation_seconds": -1.0}), "cost.evaluation_seconds is -1.0"),
    "kept": (has(cost={"kept_features": 1.5}), "cost.kept_features is 1.5"),
    "epochs": (
        both(is_run_with(training=TRAINED), has(weights={"origin": "trained here"}, made={"epochs": 9})),
        "9 epochs of training, and its settings have at most 3",
    ),
    "validation": (has(made={"validation_mIoU": 101.0}), "the validation's mIoU is 101.0, expected 0 to 100"),
    "features": (has(provenance={"cache_dtype": "float16"}), "cache_dtype is float16, and of the backbone float32"),
    "predictions": (has(predictions={"kept": "all"}), "predictions.kept is 'all'"),
    "augmented": (has(augmented_episodes=3), "3 augmented episodes, by the manifest 0"),
    "failed": (has(failed_episodes=3), "3 failed episodes, by the counts 0"),
    "dropped": (has(dropped_classes=["ring"]), "1 classes were left out, and the manifest leaves out 0"),
    "score": (has(scores={"mIoU": 99.0}), "by the counts, and 99.0 in run.json"),
    "unknown score": (has(scores={"glory": 1.0}), "it has a score 'glory', which its protocol does not have"),
}
"""Statement -> how it is forged, and what every reader says."""


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_statement_is_named(honest, tmp_path, name):
    change, words = FORGED[name]
    folder = forged(honest, tmp_path / "run", change)
    with pytest.raises(RecordError) as refusal:
        _ = read_record(folder).every_episode  # type: ignore[union-attr]
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def forged(record: Record, folder: Path, change: Callable[[Values], None]) -> Path:
    """Write a copy of a record whose run.json was changed."""
    shutil.copytree(record.path, folder)
    run = json.loads((folder / "run.json").read_text())
    change(run)
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def test_every_reader_holds_a_record_against_itself(honest, tmp_path, capsys):
    change, words = FORGED["asked alone"]
    folder = str(forged(honest, tmp_path / "runs/run", change))
    bundle = tmp_path / "bundles/mine.fsb"
    bundle.parent.mkdir()
    write_bundle([honest], {"mine": check_card({"trials": 1}, "card")}, "CC-BY-4.0", "fsbench 1", bundle)

    def forge(contents: dict[str, bytes]) -> None:
        contents[entry(contents, "run.json")] = (Path(folder) / "run.json").read_bytes()

    altered(bundle, forge, relist=True)
    (tmp_path / "card.yaml").write_text("trials: 1\n")
    for words_of_command in (
        ["table", folder],
        ["table", folder, "--protocol", "pfenet"],
        ["compare", folder, str(honest.path)],
        ["report", folder, "--out", str(tmp_path / "pages")],
        ["bundle", folder, "--card", str(tmp_path / "card.yaml"), "-o", str(tmp_path / "x.fsb")],
        ["verify", str(bundle)],
        ["report", "--board", str(bundle.parent), "--out", str(tmp_path / "site"), "--strict"],
    ):
        assert main(words_of_command) != 0
        shown = "".join(capsys.readouterr())
        assert words in shown and "Traceback" not in shown and "mIoU" not in shown, words_of_command


def test_one_fold_under_several_numbers_is_no_mean(honest, tmp_path, capsys):
    """Neither with other headers nor in a bundle; the line names both runs."""
    runs = [honest.path]
    for fold in (1,):
        copy = read_record(Path(shutil.copytree(honest.path, tmp_path / f"runs/fold{fold}")))
        assert copy is not None
        runs.append(rewrite(copy, header={"fold": fold}).path)
    records = [read_record(path) for path in runs]
    assert main(["table", *map(str, runs)]) == 1
    shown = capsys.readouterr()
    assert "mean" not in shown.out and all(str(path) in shown.err for path in runs)
    assert "are said to be folds 0 and 1 of one test, and both test the class" in shown.err
    bundle = tmp_path / "folds.fsb"
    write_bundle([one for one in records if one], {"mine": Card()}, "CC-BY-4.0", "fsbench 1", bundle)
    assert main(["verify", str(bundle)]) == 1 and "said to be folds 0 and 1" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["tp", "rom"])
def test_two_bundles_of_one_run_with_other_counts_are_both_refused(blocks_folder, tmp_path, capsys, column):
    make = record_maker(blocks_folder, tmp_path)
    (tmp_path / "bundles").mkdir()
    for name, quality, share in (("first", 2, 1.0), ("second", 3 if column == "tp" else 2, 0.5)):
        record = make("mine", 0, quality)
        frame = record.every_episode.with_columns(pl.col("rom") * share)
        frame.write_parquet(record.path / "episodes.parquet")
        record = rewrite(record, id="mine", **hashes(frame))  # equal settings
        run = record.run.model_copy(update={"id": f"mine-{record.run.identity.digits}"})
        (record.path / "run.json").write_text(json.dumps(run.as_json()))
        file = tmp_path / f"bundles/{name}.fsb"
        write_bundle([Record(record.path, run)], {"mine": Card()}, "CC-BY-4.0", "fsbench 1", file)
    assert main(["report", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path / "site"), "--strict"]) == 1
    lines = capsys.readouterr().err.splitlines()
    for name, other in (("first", "second"), ("second", "first")):
        (line,) = (line for line in lines if line.startswith(f"{name}.fsb: refused"))
        assert f"{other}.fsb has the same run with other counts" in line


def entries(model: type[Entries], prefix: str = "") -> Iterator[str]:
    """Yield the entries of a run.json, with dots between groups."""
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        groups = [kind for kind in kinds if issubclass(kind, Entries)]
        yield from entries(groups[0], f"{prefix}{name}.") if groups else [f"{prefix}{name}"]


def test_every_entry_has_a_statement():
    assert set(entries(Run)) == STATEMENTS.keys()
    assert CARD.keys() == Card.model_fields.keys() and LISTING.keys() == Listing.model_fields.keys()
    assert OUTCOME.keys() == {field.name for field in fields(Outcome)}


def test_a_key_that_stands_twice_is_refused_in_answers_and_kits(tmp_path):
    file = tmp_path / "mine.fsa"
    with Answers(file) as written:
        written.add(0, [[1]])
    header, line = file.read_bytes().splitlines(keepends=True)
    text = b'{"number": 1, ' + line.partition(b" {")[2].rstrip()
    file.write_bytes(header + b"%08x " % zlib.crc32(text) + text + b"\n")
    before = file.read_bytes()
    with pytest.raises(AnswersError, match=r"line 2 of .*mine.fsa is damaged"):
        Answers(file)
    assert file.read_bytes() == before
    (tmp_path / "kit.json").write_text(f'{{"test": "{HASH}", "test": "{"1" * 64}"}}')
    with pytest.raises(AnswersError, match="a key stands twice in one object"):
        read_kit_folder(str(tmp_path))
    accepted = (BENCHMARKS / "regression/bam.json").read_text()
    (tmp_path / "bam.json").write_text(accepted.replace('"losses":', '"losses": [], "losses":', 1))
    with pytest.raises(RecordError, match="'losses' stands twice"):
        read_outcome(tmp_path / "bam.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda outcome: outcome["answers"][0]["slots"][1].__setitem__(3, 1), "pixels are counted, and its mask has"),
    ],
)  # fmt: skip
def test_an_accepted_outcome_says_what_follows_from_its_answers(tmp_path, change, words):
    outcome = json.loads((BENCHMARKS / "regression/blind_centre.json").read_text())
    change(outcome)
    (tmp_path / "case.json").write_text(json.dumps(outcome))
    with pytest.raises(RecordError) as refusal:
        read_outcome(tmp_path / "case.json")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
