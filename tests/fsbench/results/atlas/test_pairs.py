"""Two published tests side by side: what differs, which figures stand together, and how far images move them."""

from dataclasses import replace

import pytest

from fsbench.base.errors import SettingsError
from fsbench.results.atlas.atlas import IMAGES, shipped_atlas
from fsbench.results.atlas.moves import BEYOND, WITHIN, known_moves, pair_moves
from fsbench.results.atlas.pairs import NOT_KNOWN, OTHER, SAME, TOLD, Comparisons
from fsbench.results.tables.pair_text import pair_text
from tests.fsbench.results.atlas.test_atlas import with_run

CELL = ("1", "1", "mIoU")


@pytest.fixture(scope="module")
def comparisons():
    return Comparisons(shipped_atlas())


def test_the_marks_are_where_two_rows_differ(comparisons):
    programs = [
        each for each in shipped_atlas().programs if each.dataset == "PASCAL-5i" and each.conditions["task"] == "FSS"
    ]
    for one in programs[:12]:
        for other in programs[:12]:
            pair = comparisons.pair(*(f"{each.method}/pascal-5i" for each in (one, other)))
            stated = [each.program.conditions | each.changes for each in (pair.one, pair.other)]
            for key in (*SAME, *TOLD):
                assert (pair.marks[key] == "") == (stated[0][key] == stated[1][key] and pair.marks[key] != "?")
            apart = {key for key in SAME if pair.marks[key] == "≠"}
            assert (pair.verdict == OTHER) == bool(apart)


def test_a_word_that_leaves_its_rule_open_is_not_said_to_agree(comparisons):
    pair = comparisons.pair("fs-sam2/pascal-5i", "fs-sam2/pascal-5i")
    assert pair.verdict == NOT_KNOWN and {key for key, mark in pair.marks.items() if mark} == {"geometry"}


def test_a_figure_of_a_variant_is_named_as_one(comparisons):
    """RePRI's oracle is not RePRI; where a program has figures of its own, these are shown."""
    pair = comparisons.pair("RePRI", "BAM")
    assert [pair.figures[0].one.printed, pair.figures[0].other.printed] == ["59.1", "67.81"]
    assert "RePRI (oracle)" in pair_text(shipped_atlas(), pair, {})
    for name in ("HSNet", "ABCNet", "CST"):
        assert not comparisons.pair(name, "RePRI").other.changes


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("HSNt", "BAM", "'HSNet'"),
        ("", "BAM", "such as BAM"),
        ("PATNet", "BAM", "one data set"),
        ("dcsam", None, "fsbench atlas compare dc-sam hsnet"),
    ],
)
def test_wrong_names_get_one_line(comparisons, one, other, words):
    with pytest.raises(SettingsError) as refused:
        comparisons.pair(one, other)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_known_of_the_error_of_a_figure(comparisons):
    """A published deviation over seeds with its source, the command that tells, or a run that does."""
    atlas = shipped_atlas()
    pair = comparisons.pair("BAM", "MSANet")
    assert [float(each.difference) for each in pair.figures] == [0.71, 1.69]
    assert known_moves(atlas, pair.one, CELL).measure[1].endswith("--protocol atlas:bam/pascal-5i")
    seeds = known_moves(atlas, atlas.entry("hmnet/coco-20i/resnet-50"), CELL).known[0]
    assert "0.3 over the seeds 0,1,2,3,321 (HMNet paper Table 6)" in seeds
    assert pair_moves(with_run(atlas, pair.one, 1.0), pair)[-1] == WITHIN
    assert pair_moves(with_run(atlas, pair.other, 0.2), pair)[-1] == BEYOND
    fold = known_moves(with_run(atlas, pair.one, 1.0, "0"), pair.one, CELL)
    assert fold.limit == pytest.approx(2**0.5) and not fold.is_whole and fold.lines(0.71)[-1].startswith("  fsbench")


def test_a_trial_tells_roughly_and_less_than_a_whole_run():
    atlas = shipped_atlas()
    bam = atlas.entry("bam/pascal-5i/resnet-50")
    *_, run = with_run(atlas, bam, 5.0).entries
    run.conditions[IMAGES[-1]] = "20"
    with_trial = replace(atlas, entries=[*atlas.entries, run])
    trial, both = (known_moves(each, bam, CELL) for each in (with_trial, with_run(with_trial, bam, 1.0)))
    assert not trial.is_whole and "20 episodes a fold instead of 1000" in trial.known[0]
    assert both.is_whole and both.limit == pytest.approx(2**0.5)


def test_lines_are_no_wider_than_asked(comparisons):
    text = pair_text(shipped_atlas(), comparisons.pair("BAM", "HMNet"), {"BAM": {"": "bam"}}, 80)
    lines = [line for line in text.splitlines() if "fsbench" not in line]
    assert max(map(len, lines)) <= 80
    marked = [line.split()[1:3] for line in lines if line.startswith("≠")]
    assert ["images", "become"] in marked and ["metrics", "at"] in marked and ["void", "pixels"] not in marked
