"""Identities of counts: what any prediction gives keeps them, and a record that breaks one is read by nobody."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from scipy.optimize import linprog

from fsbench.base.errors import NumericsError, RecordError
from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.truth import EpisodeTruth
from fsbench.records.counts import to_frame
from fsbench.records.identities import check_identities
from fsbench.records.record import read_record
from fsbench.scores.answers import SegmentationAnswer, count_answer
from tests.fsbench.runs import HEADER, reseal, some_run

FILE = Path("episodes.parquet")
REGRESSION = REPOSITORY / "benchmarks/regression"
COLUMNS = (
    "slot", "class_id", "tp", "pred", "gt", "pred_void", "void", "valid", "present", "decided", "score", "rom", "rum",
)  # fmt: skip


def header(protocol: str = "fscs", ways: int = 3) -> dict:
    numbers = list(range(1, ways + 1))
    names = {str(number): f"class {number}" for number in numbers}
    return HEADER | {"protocol": protocol, "way": ways, "class_ids": numbers, "class_names": names}


def drawn_table(seed: int, ways: int, presence: str) -> tuple[pl.DataFrame, Manifest]:
    """Return the counts of drawn answers to drawn truths with void pixels; three queries come again and again."""
    rng = np.random.default_rng(seed)
    classes = tuple(range(1, ways + 1))
    truths = {}
    for query in ("a", "b", "c"):
        shown = rng.choice(ways + 1, 2)
        truths[query] = rng.choice([*shown, 0, 255], size=(7, 9), p=[0.3, 0.3, 0.3, 0.1]).astype(np.uint8)
    episodes, rows = [], []
    for number in range(12):
        query = "abc"[rng.integers(3)]
        episodes.append(Episode(number, query, 1, classes, (("s",),) * ways))
        truth = truths[query]
        is_there = np.array([(truth == way).any() for way in classes])
        drawn, is_right = rng.integers(0, ways + 1, truth.shape), rng.random(truth.shape) < 0.5
        guess = np.where(is_right & (truth != 255), truth, drawn)
        says = (rng.random(ways) < 0.5, rng.random(ways, np.float32)) if presence == "predicted" else (None, None)
        answer = SegmentationAnswer(guess.astype(np.uint8) * (number % 5 > 0), *says)
        rows += count_answer(answer, EpisodeTruth(number, truth.shape, truth, is_there, np.array(classes))).rows()
    manifest = Manifest(header(ways=ways), tuple(episodes))
    return to_frame(rows, manifest), manifest


@pytest.mark.parametrize("presence", ["predicted", "any_pixel"])
def test_counts_of_any_prediction_keep_them(presence):
    for seed in range(12):
        frame, manifest = drawn_table(seed, 1 + seed % 4, presence)
        check_identities(frame, manifest, some_run(presence=presence), FILE)


@pytest.fixture(scope="module")
def cases() -> dict:
    return yaml.safe_load((REGRESSION / "cases.yaml").read_text())["cases"]


@pytest.mark.parametrize("file", sorted(REGRESSION.glob("*.json")), ids=lambda file: file.stem)
def test_accepted_answers_keep_them(file, cases):
    accepted = json.loads(file.read_text())
    episodes, rows = [], []
    for answer in accepted["answers"]:
        values = answer["episode"]
        ways = tuple(map(tuple, values["supports"]))
        number = values.pop("index")
        episodes.append(Episode(number, **(values | {"classes": tuple(values["classes"]), "supports": ways})))
        rows += [{"episode": number, **dict(zip(COLUMNS, slot, strict=True))} for slot in answer["slots"]]
    numbers = accepted["identity"]["class_ids"]
    names = {str(number): "c" for number in numbers}
    protocol = cases.get(file.stem, {}).get("protocol", "fscs")
    manifest = Manifest(header(protocol) | {"class_ids": numbers, "class_names": names}, tuple(episodes))
    run = some_run({"image_size": accepted["identity"]["image_size"]})
    check_identities(to_frame(rows, manifest), manifest, run, FILE)


def at(episode: int, slot: int | None = None, **values: pl.Expr | float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return a change of some columns of an episode's rows, or of one row."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        here = (pl.col("episode") == episode) & (pl.lit(slot is None) | (pl.col("slot") == (slot or 0)))
        return frame.with_columns(
            pl.when(here).then(value).otherwise(pl.col(name)).cast(frame[name].dtype).alias(name)
            for name, value in values.items()
        )

    return change


FORGED = {
    "more right than true": (at(3, tp=pl.col("gt") + 1000), "right pixels of"),
    "more than there are": (at(3, pred=pl.col("pred") + 10**6), "among"),
    "void that is none": (at(3, pred_void=pl.col("void") + 1), "void pixels"),
    "another size in one slot": (at(3, 2, valid=pl.col("valid") + 1), "in the episode's first row"),
    "another size of one episode": (at(3, valid=pl.col("valid") + 1), "elsewhere others"),
    "ways that do not add up": (at(3, 0, gt=pl.col("gt") - 1), "another sum over the ways"),
    "another truth of a query": (at(3, gt=pl.col("gt") + pl.col("present").cast(int)), ""),
    "a score beyond 1": (at(3, 1, score=1.5), "not in [0, 1]"),
    "the score of another way": (at(3, 0, score=0.999), "another of its ways"),
    "what is not there": (at(3, 1, present=~pl.col("present")), "present"),
    "ROM beyond 1": (at(3, rom=7.0), "ROM is 7.0, not in [0, 1]"),
}
"""Changes of a table, and words of the refusal."""


@pytest.mark.parametrize(("change", "words"), FORGED.values(), ids=FORGED)
def test_a_table_that_breaks_one_is_refused_by_episode(change, words):
    frame, manifest = drawn_table(5, 3, "predicted")
    with pytest.raises(RecordError) as error:
        check_identities(change(frame), manifest, some_run(), FILE)
    message = str(error.value)
    assert words in message and "\n" not in message
    assert "episode 3" in message or "elsewhere" in message  # a row with the same query may come first


def test_presence_that_follows_from_masks_cannot_be_stated_otherwise():
    frame, manifest = drawn_table(5, 2, "any_pixel")
    for change in (at(2, score=0.25), at(2, decided=~pl.col("decided"))):
        with pytest.raises(RecordError, match="pixels"):
            check_identities(change(frame), manifest, some_run(presence="any_pixel"), FILE)


def test_pixels_that_ways_exchange_are_as_many_as_fit():
    """Compared with a linear programme: pairs of a missed and a wrongly predicted pixel of two different ways."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        ways = int(rng.integers(1, 4))
        missed, wrong = rng.integers(0, 9, (2, ways))
        pairs = [(one, other) for one in range(ways) for other in range(ways) if one != other]
        most = 0
        if pairs:
            sums = [[float(pair[side] == way) for pair in pairs] for side in (0, 1) for way in range(ways)]
            found = linprog(-np.ones(len(pairs)), A_ub=sums, b_ub=np.concatenate([missed, wrong]))
            most = round(-found.fun)
        right = rng.integers(1, 5, ways)
        pred, gt = right + wrong, right + missed
        episode = Episode(0, "q", 1, tuple(range(1, ways + 1)), (("s",),) * ways)
        manifest = Manifest(header(ways=ways), (episode,))

        def table(exchanged, right=right, pred=pred, gt=gt, manifest=manifest):
            same = {"pred_void": 0, "void": 0, "valid": 1000, "rom": 0.0, "rum": 0.0}
            same |= {"present": True, "decided": True, "score": 1.0}
            slots = [(right.sum() + exchanged, pred.sum(), gt.sum()), *zip(right, pred, gt, strict=True)]
            counts = [dict(zip(("tp", "pred", "gt"), map(int, slot), strict=True)) for slot in slots]
            rows = [same | {"episode": 0, "slot": n, "class_id": n} | one for n, one in enumerate(counts)]
            return to_frame(rows, manifest)

        check_identities(table(most), manifest, some_run(), FILE)
        with pytest.raises(RecordError, match=r"more than its ways can exchange|right pixels of|among"):
            check_identities(table(most + 1), manifest, some_run(), FILE)
        with pytest.raises(RecordError, match="fewer than of its ways"):
            check_identities(table(-1), manifest, some_run(), FILE)


def test_counts_of_images_keep_theirs(classified):
    record = classified("m", 1)
    frame = read_record(record.path).every_episode
    for change in (
        at(3, tp=pl.col("gt") + 1),
        at(3, gt=pl.col("gt") + 1),
        at(3, 1, pred=pl.col("pred") + 1),
        at(3, 1, decided=~pl.col("decided")),
    ):
        with pytest.raises(RecordError, match="episode 3"):
            check_identities(change(frame), record.manifest, record.run, FILE)


def test_a_record_with_impossible_counts_prints_no_score(make, capsys):
    record = make("forged", 0)
    record.every_episode.with_columns(tp=pl.col("gt") + 1000).write_parquet(record.path / FILE)
    reseal(record)
    assert main(["table", str(record.path)]) != 0
    shown = capsys.readouterr()
    assert "mIoU" not in shown.out and "episode 0" in shown.err


def test_a_presence_score_that_is_no_probability_is_an_error_before_anything_is_kept():
    masks, is_there = np.ones((2, 2), np.uint8), np.array([True])
    truth = EpisodeTruth(7, (2, 2), masks, is_there, np.array([1]))
    count_answer(SegmentationAnswer(masks, is_there, np.array([1 + 1e-6], np.float32)), truth)
    with pytest.raises(NumericsError, match="episode 7"):
        count_answer(SegmentationAnswer(masks, is_there, np.array([-0.1], np.float32)), truth)
