"""The parts that see images and count answers, each against a plain loop over pixels (atlas-runs.md §6-10)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.conditions import COMPARED_AT, FB_IOU, GEOMETRY, METRIC, VOID
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.published_tests import measuring
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult
from tests.fsbench.runs import some_header

WORDS = {
    "geometry": "squash, PIL, labels torch", "compared_at": "network input, torch nearest", "void": "ignored",
    "metric": "class-pooled mIoU", "fb_iou": "pooled",
}  # fmt: skip
MEASURED = (GEOMETRY, COMPARED_AT, VOID, METRIC, FB_IOU)
NO_RULE = {
    "geometry": {"letterbox, sides rounded down"},  # of SegIC, whose answers lie over the image alone
    "metric": {
        "class-pooled mIoU, best threshold", "pooled foreground IoU", "pooled over batches with background",
        "confusion with background", "confusion without background", "gfss, base with background",
        "mean Dice of scans",
    },
}  # fmt: skip
"""Words without a part: their scores do not follow from the counts of single episodes."""


def protocol(**words: str) -> Protocol:
    """A test of 1 way that sees and counts as these words say, others as HSNet's program does."""
    found = measuring(WORDS | words)
    test = Protocol("test", 1, "", Listed(), found.view, found.counting)
    test.check()
    return test


@pytest.mark.parametrize("one", MEASURED, ids=lambda one: one.key)
def test_every_word_has_a_part_or_none_is_possible(one):
    assert {value.word for value in one.values if value.part is None} == NO_RULE.get(one.key, set())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"void": "dropped"}, "void is 'dropped', for which there is no rule"),
        ({"geometry": "not found"}, "geometry is 'not found', for which there is no rule"),
        ({"metric": "class-pooled mIoU, present only"}, "expected 'present only' in both or in none"),
        (
            {"metric": "class-pooled mIoU, present only", "fb_iou": "not computed", "void": "background"},
            "void 'background'; expected void pixels that are left out",
        ),
    ],
)
def test_bad_words_and_impossible_combinations_get_one_line(words, message):
    with pytest.raises(SettingsError, match=r"expected|there is no rule") as refused:
        protocol(**words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_what_a_word_leaves_open_is_said():
    assert measuring(WORDS).in_spirit == ()
    found = measuring(WORDS | {"geometry": "squash", "compared_at": "original"})
    assert found.in_spirit == (
        "images are squashed by PIL, as most programs do",
        "sizes are the query's height and width",
    )
    letterboxed = measuring(WORDS | {"geometry": "letterbox", "compared_at": "original"})
    assert (letterboxed.view.query_size, letterboxed.view.resize) == ("square", "padded")


# Sizes


def source(rule: str, place: int, length: int, size: int) -> int:
    """The row or column from which a nearest-pixel rule takes a pixel."""
    if rule == "torch":
        return min(int(np.floor(np.float32(place) * (np.float32(length) / np.float32(size)))), length - 1)
    return (
        min(int(place * (1 / (size / length))), length - 1)
        if rule == "OpenCV"
        else (2 * place + 1) * length // (2 * size)
    )


def resized(rule: str, labels: np.ndarray, height: int, width: int) -> np.ndarray:
    found = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            found[row, column] = labels[
                source(rule, row, len(labels), height), source(rule, column, len(labels[0]), width)
            ]
    return found


def letterboxed(labels: np.ndarray, side: int) -> np.ndarray:
    height, width = labels.shape
    longer = max(height, width)
    inner = [(side if each == longer else int(each * side / longer)) // 8 * 8 for each in (height, width)]
    found = np.full((side, side), 255, np.uint8)
    found[: inner[0], : inner[1]] = resized("OpenCV", labels, *inner)
    return found


def in_square(labels: np.ndarray) -> np.ndarray:
    side = max(labels.shape)
    found = np.full((side, side), 255, np.uint8)
    found[: labels.shape[0], : labels.shape[1]] = labels
    return found


@pytest.fixture
def label_map() -> np.ndarray:
    """A label map (53, 40) of one way with void, in which no two rows or columns are alike."""
    return np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (53, 40), p=[0.5, 0.4, 0.1])


COMPARED = {
    ("squash, PIL, labels torch", "network input, torch nearest"): lambda m: resized("torch", m, 24, 24),
    ("squash, OpenCV", "network input, OpenCV nearest"): lambda m: resized("OpenCV", m, 24, 24),
    ("squash, PIL, labels PIL", "network input, PIL nearest"): lambda m: resized("PIL", m, 24, 24),
    ("squash, OpenCV", "network input, torch nearest"): lambda m: resized("torch", m, 24, 24),
    ("squash, PIL, labels PIL", "network input"): lambda m: resized("PIL", m, 24, 24),
    ("letterbox", "network input, letterboxed"): lambda m: letterboxed(m, 24),
    ("letterbox", "original, square"): in_square,
    ("squash, OpenCV", "original, height and width"): lambda m: m,
    ("squash, PIL, labels PIL", "original, label there and back"): lambda m: resized(
        "torch", resized("PIL", m, 24, 24), *m.shape
    ),
    ("squash, OpenCV", "fixed 256"): lambda m: resized("torch", m, 256, 256),
}


@pytest.mark.parametrize(("words", "plain"), COMPARED.items(), ids=["; ".join(words) for words in COMPARED])
def test_answers_are_counted_where_the_program_counts_them(words, plain, label_map):
    """The counts of a random answer are those of a loop over the pixels of the truth as the program has it."""
    test = protocol(geometry=words[0], compared_at=words[1])
    truth, size = test.view.truth(label_map, 24)
    expected = plain(label_map)
    assert size == expected.shape
    answer = np.random.default_rng(1).integers(0, 2, size)
    found = counted(test, answer, truth, size, 1).counts[1].tolist()
    hits = predicted = true = on_void = 0
    for said, shown in zip(answer.ravel().tolist(), expected.ravel().tolist(), strict=True):
        if shown == 255:
            on_void += said
        else:
            hits += said * shown
            predicted += said
            true += shown
    assert found[:3] == [hits, predicted, true]
    padded = words[0] == "letterbox"  # whose padding is void to the program, and not there for us
    assert found[5] == int((expected != 255).sum()) and (padded or found[3] == on_void)
    stated = test.conditions("pascal")
    assert stated["geometry"] == words[0] and (stated["compared_at"] == words[1] or words[1] == "network input")


@pytest.mark.parametrize("words", [words for words in COMPARED if words[0] != "letterbox"], ids="; ".join)
def test_stored_predictions_are_counted_again_against_the_same_truth(words, label_map):
    test = protocol(geometry=words[0], compared_at=words[1])
    truth, _ = test.view.truth(label_map, 24)
    again = test.view.original_truth(label_map, 24)
    side = test.view.side(24)
    assert (truth == (again if side is None else test.view.squashed_truth(again, side))).all()


def counted(
    test: Protocol, answer: np.ndarray, truth: np.ndarray, size: tuple[int, int], number: int, episode: int = 0
) -> SegmentationResult:
    known = EpisodeTruth(episode, size, truth, np.array([True]), np.array([number]))
    return test.count(SegmentationAnswer(answer), known)


# Void and scores

CLASSES = (1, 2, 3, 5)
"""Those of the episodes; 4 is one of the test and has none."""


def drawn_episodes() -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Classes, answers and truths (9, 9) of 16 episodes: some truths lack the class, some the background."""
    generator, found = np.random.default_rng(2), []
    for place in range(16):
        truth = generator.choice(np.array([0, 1, 255], np.uint8), (9, 9), p=[0.5, 0.3, 0.2])
        if place in (2, 7):
            truth[truth == 1] = 0
        if place in (4, 9):
            truth[truth == 0] = 1
        found.append((CLASSES[place % 4], generator.integers(0, 2, (9, 9)), truth))
    return found


def program_scores(void_rule: str, present_only: bool, classes: Sequence[int]) -> tuple[list[float | None], float]:
    """IoU of each class, None without an episode, and FB-IoU, in percent, added up pixel by pixel."""
    sums = {number: [0, 0] for number in (0, *classes)}
    for number, answer, truth in drawn_episodes():
        pixels = [
            (int(said), 0 if shown == 255 else int(shown))
            for said, shown in zip(answer.ravel(), truth.ravel(), strict=True)
            if shown != 255 or void_rule == "background"
        ]
        for label, key in ((0, 0), (1, number)):
            if present_only and not any(shown == label for _, shown in pixels):
                continue
            for said, shown in pixels:
                sums[key][0] += said == shown == label
                sums[key][1] += label in (said, shown)
    ious = [100 * sums[number][0] / sums[number][1] if sums[number][1] else None for number in classes]
    foreground = [sum(sums[number][i] for number in classes) for i in (0, 1)]
    return ious, 50 * (foreground[0] / foreground[1] + sums[0][0] / sums[0][1])


def suite_scores(test: Protocol, classes: Sequence[int]) -> dict[str, float]:
    rows = [
        row
        for place, (number, answer, truth) in enumerate(drawn_episodes())
        for row in counted(test, answer, truth, (9, 9), number, place).rows()
    ]
    frame = pl.DataFrame(rows).with_columns(query=pl.col("episode").cast(pl.String))
    return dict(test.statistics(frame, some_header(class_ids=list(classes), dataset="pascal")).scores())


@pytest.mark.parametrize(
    ("metric", "fb_iou", "void_word"),
    [
        ("class-pooled mIoU", "pooled", "ignored"),
        ("class-pooled mIoU", "pooled", "background"),
        ("class-pooled mIoU, classes seen", "pooled", "ignored"),
        ("class-pooled mIoU, present only", "pooled, present only", "ignored"),
        ("class-pooled mIoU, absent is an error", "pooled", "background"),
    ],
)
def test_scores_are_those_of_a_loop_over_pixels(metric, fb_iou, void_word):
    test = protocol(
        metric=metric,
        fb_iou=fb_iou,
        void=void_word,
        geometry="squash, OpenCV",
        compared_at="original, height and width",
    )
    ious, both = program_scores(void_word, "present" in metric, CLASSES)
    found = suite_scores(test, CLASSES)
    assert found["mIoU"] == pytest.approx(np.mean(ious)) and found["FB-IoU"] == pytest.approx(both)
    lacking, _ = program_scores(void_word, "present" in metric, (1, 2, 3, 4, 5))
    assert lacking[3] is None
    mean = suite_scores(test, (1, 2, 3, 4, 5))["mIoU"]
    if test.counting.absent == "nan":
        assert np.isnan(mean) and test.counting.on_absent
    else:
        kept = [iou or 0.0 for iou in lacking] if test.counting.absent == "zero" else ious
        assert mean == pytest.approx(np.mean(kept))
    stated = test.conditions("pascal")
    assert (stated["void"], stated["fb_iou"]) == (void_word, fb_iou)
    assert stated["metric"] == metric
