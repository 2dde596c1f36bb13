"""Two published tests side by side: the answer in a sentence, the words, and the commands."""

import csv

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.protocols.programs import FOLDER
from fsbench.protocols.reading import load_protocol
from fsbench.results.atlas.atlas import TEST, TOLD, shipped_atlas
from fsbench.results.atlas.moves import known_moves
from fsbench.results.atlas.pairs import pair_named
from fsbench.results.atlas.words import VERBS
from tests.fsbench.results.atlas.test_atlas import with_run


def sentence(one, other):
    return pair_named(shipped_atlas(), one, other).sentence


def test_every_condition_that_parts_figures_has_a_verb():
    assert set(VERBS) == {*TEST, *TOLD}


def test_the_sentence_names_what_keeps_figures_apart():
    assert sentence("BAM", "HMNet") == (
        "not comparable: BAM makes inputs by 'letterbox', HMNet makes inputs by 'squash, OpenCV'; BAM counts at "
        "'original, square', HMNet counts at 'original, height and width'"
    )
    assert sentence("bam/pascal-5i", "msanet/pascal-5i") == (
        "comparable: BAM and MSANet share the test on PASCAL-5i and get the same labels and help"
    )
    assert sentence("HSNet", "AFANet") == (
        "the same test, but no common rank, because the methods get different help: HSNet gets masks and no further "
        "help; AFANet gets image labels and class names"
    )
    assert sentence("PAM", "HSNet").startswith("not known: no evaluation program of PAM was found")
    assert sentence("HSNet", "PANet").endswith("more conditions differ")


def test_the_differences_are_those_of_the_rows():
    """Each pair of programs on PASCAL-5i differs where two lines of the csv file do."""
    with (FOLDER / "conditions.csv").open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["dataset"] == "PASCAL-5i" and row["task"] == "FSS"][:12]
    atlas = shipped_atlas()
    for one in rows:
        for other in rows:
            pair = pair_named(atlas, f"{one['method']}/pascal-5i", f"{other['method']}/pascal-5i")
            stated = [own | dict(entry.changes) for own, entry in ((one, pair.one), (other, pair.other))]
            assert pair.apart == [name for name in (*TEST, *TOLD) if stated[0][name] != stated[1][name]]
            plain = [entry for entry in (pair.one, pair.other) if not entry.changes]
            assert all(entry.program is None or entry.method == entry.program.method for entry in plain)


def test_a_figure_of_a_variant_is_named_as_one():
    """RePRI's oracle is not RePRI; where a program has figures of its own, these are shown."""
    atlas = shipped_atlas()
    assert "RePRI 59.1 and BAM 67.81" in pair_named(atlas, "RePRI", "BAM").figures[0].sentence
    for name in ("HSNet", "ABCNet", "CST"):
        pair = pair_named(atlas, name, "RePRI")
        for figure in pair.figures:
            assert "(oracle)" in figure.sentence or not figure.other[0].changes


def test_a_word_that_leaves_its_rule_open_is_not_said_to_agree():
    pair = pair_named(shipped_atlas(), "fs-sam2/pascal-5i", "fs-sam2/pascal-5i")
    assert pair.apart == ["geometry"] and pair.sentence.startswith("not known to be comparable")
    assert {mark for mark, *_ in pair.words()} == {"", "?"}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("HSNt", "BAM", "the atlas has no 'HSNt'; did you mean 'HSNet'?"),
        ("", "BAM", "expected a method, such as BAM"),
        ("PATNet", "BAM", "expected two that share a data set, or one row of each"),
    ],
)
def test_wrong_names_get_one_line(one, other, message):
    with pytest.raises(SettingsError) as refused:
        sentence(one, other)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_the_figures_come_first_and_what_is_known_of_their_error(tmp_path):
    """A published deviation over seeds or folds with its source, the command that tells, or a run that does."""
    atlas = shipped_atlas()
    pair = pair_named(atlas, "BAM", "MSANet")
    assert [figures.sentence for figures in pair.figures] == [
        "1-way 1-shot mIoU, ResNet-50: BAM 67.81 and MSANet 68.52; MSANet is 0.71 higher",
        "1-way 5-shot mIoU, ResNet-50: BAM 70.91 and MSANet 72.60; MSANet is 1.69 higher",
    ]
    bam, cell = pair.figures[0].one[0], ("1", "1", "mIoU")
    *_, unknown, command = known_moves(atlas, bam, cell)
    assert unknown.endswith("move a score of this test. This command tells in about 20 minutes on a CPU:")
    assert command.endswith(" --dataset pascal --fold 0,1,2,3 --protocol atlas:bam/pascal-5i")
    seeds = [line for line in known_moves(atlas, atlas.entry("hmnet/coco-20i/resnet-50"), cell) if "seeds" in line]
    assert "HMNet's score has a standard deviation of 0.3 over the seeds 0,1,2,3,321 (HMNet paper Table 6)." in seeds[1]
    (said, verdict) = known_moves(with_run(atlas, bam, 1.0), bam, cell, 0.71)
    assert "by ±1.0, and the difference of two scores by up to ±1.4 (95 %; x, " in said
    assert verdict == "The difference is no more than other images may explain."
    (_, verdict) = known_moves(with_run(atlas, bam, 0.2), bam, cell, 0.71)
    assert verdict == "The difference is more than other images explain."
    assert known_moves(with_run(atlas, bam, 1.0, "0"), bam, cell, 0.71)[1] == "The mean over all folds moves less."


def test_the_command_gives_an_answer_the_words_and_commands_that_are_known(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    assert main(["atlas", "compare", "BAM", "HMNet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1-way 1-shot mIoU, ResNet-50: BAM 67.81 and HMNet 70.4; HMNet is 2.59 higher."
    assert any(line.startswith("Not comparable: BAM makes inputs by 'letterbox'") for line in lines)
    assert max(len(line) for line in lines if "fsbench" not in line) <= 80
    assert [line.split()[1:3] for line in lines if line.startswith("≠")][:2] == [
        ["images", "become"],
        ["metrics", "at"],
    ]
    asked = [line.split() for line in lines if line.startswith("  fsbench bench") and "efficientnet" not in line]
    assert [words[3] for words in asked] == ["bam,hmnet"] * 2
    assert [load_protocol(words[-1]).name for words in asked] == ["atlas:bam/pascal-5i", "atlas:hmnet/pascal-5i"]
    assert main(["atlas", "compare", "HSNt", "BAM"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["atlas", "compare", "dcsam"]) == 2
    assert (
        "dcsam is one method; expected two whose figures are compared, such as: fsbench atlas compare dc-sam hsnet; "
        "the atlas has DC-SAM as dc-sam/pascal-5i and dc-sam/coco-20i"
    ) in capsys.readouterr().err
