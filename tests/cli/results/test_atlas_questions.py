"""What a reader asks of two published figures, by the real command line."""

import re
import shlex
from contextlib import suppress
from itertools import combinations

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.atlas.moves import BEYOND, WITHIN
from fsbench.results.atlas.pairs import Comparisons

METHODS = sorted({program.method for program in shipped_atlas().programs})
SANSA = ("strict", "generalist")


def verdict(atlas, one, other):
    """The verdict on two names; None where they share no data set."""
    sets = [{entry.dataset for entry in atlas.entries(name)} for name in (one, other)]
    return atlas.pair(one, other).verdict if "COCO-20i" in sets[0] & sets[1] and other not in one else None


@pytest.fixture
def asked(capsys, monkeypatch, tmp_path):
    """Return the lines of `fsbench atlas compare`."""
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.chdir(tmp_path)

    def ask(*words):
        assert main(["atlas", "compare", *words]) == 0
        return capsys.readouterr().out.splitlines()

    return ask


def figures(lines):
    return [line for line in lines if re.search(r"-shot \S+.*; .*(higher|equal)", line)]


def commands(lines):
    return [line.partition(" #")[0].strip() for line in lines if line.startswith("  fsbench")]


@pytest.mark.parametrize(
    ("one", "other", "dataset"),
    [
        ("SANSA", "Matcher", "COCO-20i"),
        ("BAM", "SANSA", "COCO-20i"),
        ("SegIC", "SANSA", "COCO-20i"),
        ("FSS-SAM3", "SANSA", "COCO-20i"),
        ("AENet", "BAM", "PASCAL-5i"),
    ],
)
def test_a_name_of_several_programs_is_compared_and_the_others_are_listed(asked, one, other, dataset):
    lines = asked(one, other)
    heads = next(line for line in lines if line.count(f", {dataset}") == 2)
    assert "no evaluation program" not in lines[0] and one in heads
    several = other if other == "SANSA" else one
    (listed,) = [line for line in lines if line.startswith("The atlas also has ")]
    assert f"{several} (" in listed and re.search(r"\d\d\.\d", listed)


def test_a_name_that_would_be_judged_in_two_ways_is_asked_back(capsys):
    """PerSAM shares the test of SANSA (strict), not that of SANSA (generalist)."""
    atlas = Comparisons(shipped_atlas())
    other = next(name for name in METHODS if len({verdict(atlas, f"SANSA ({which})", name) for which in SANSA}) == 2)
    assert main(["atlas", "compare", "SANSA", other]) == 2
    said = capsys.readouterr().err
    assert all(f"SANSA ({which})" in said for which in SANSA)
    for which in SANSA:
        assert main(["atlas", "compare", f"SANSA ({which})", other]) == 0


def test_figures_of_one_backbone_are_preferred_and_others_are_said_in_the_sentence(asked):
    for names in (("HSNet", "BAM"), ("HSNet/pascal-5i", "BAM"), ("HSNet", "RePRI"), ("PFENet", "VAT")):
        for line in figures(asked(*names)):
            same = re.search(r"mIoU, (ResNet|VGG)-\d+: ", line)
            assert bool(same) != (" though " in line and " against " in line)
    assert all("mIoU, ResNet-50: " in line for line in figures(asked("HSNet", "BAM")))


def test_nothing_is_subtracted_across_backbones_where_one_is_shared():
    """Of every two methods whose programs are known."""
    comparisons = Comparisons(shipped_atlas())
    for one, other in combinations(METHODS, 2):
        both = [[entry for entry in comparisons.entries(name) if entry.program] for name in (one, other)]
        near = [(a, b) for a in both[0] for b in both[1] if a.dataset == b.dataset and a.cells().keys() & b.cells()]
        if any(a.backbone == b.backbone for a, b in near):
            with suppress(SettingsError):  # asked back
                pair = comparisons.pair(one, other)
                assert pair.one.backbone == pair.other.backbone and pair.figures


@pytest.mark.parametrize(
    ("names", "verdict", "named"),
    [
        (("HMNet", "HDMNet"), "One test but ", ["10 runs", "'workers'"]),
        (("HSNet/pascal-5i", "ASNet-FSS/pascal-5i"), "One test: ", []),
        (("HSNet", "AFANet"), "One test but ", ["image labels"]),
        (("BAM", "HMNet"), "Other tests: ", ["'letterbox'", "'original, square'"]),
        (("PAM", "HSNet"), "Not known: ", ["PAM"]),
    ],
)
def test_the_verdict_has_three_words_and_names_what_it_follows_from(asked, names, verdict, named):
    headline = asked(*names)[0]
    assert headline.startswith(verdict) and all(word in headline for word in named)


def test_what_a_figure_is_a_mean_of_is_never_left_out_of_the_headline():
    """Two figures that share a test, of runs or checkpoints that differ, are not "one test" alone."""
    atlas = shipped_atlas()
    comparisons = Comparisons(atlas)
    shared = [group for group in atlas.groups() if group.is_known and len(group.programs) > 1]
    for group in shared:
        for other in group.entries[1:]:
            pair = comparisons.pair(group.entries[0].id, other.id)
            differ = [key for key in ("runs", "checkpoint") if pair.one.conditions[key] != pair.other.conditions[key]]
            hangs = {pair.one.conditions["depends_on"], pair.other.conditions["depends_on"]} != {"no"}
            if pair.one.program and pair.other.program:
                assert pair.verdict == "one test" or differ or hangs or pair.one.told != pair.other.told
                assert not (pair.verdict == "one test" and (differ or hangs))


@pytest.mark.slow(40)
def test_a_run_here_tells_how_far_images_move_a_difference_and_which_run_it_is(asked, real_data, tmp_path, capsys):
    names = ("HSNet/pascal-5i", "ASNet-FSS/pascal-5i", "--runs", str(tmp_path / "runs"))
    unknown = asked(*names)
    assert any("No run here" in line for line in unknown)
    place = ["--data-root", str(real_data / "voc-mini"), "--runs", str(tmp_path / "runs"), "--data.loading.workers=0"]
    test = ["--protocol", "atlas:hsnet/pascal-5i", "--dataset", "pascal", "--data.image_size=64"]
    run = ["bench", "--method", "prototype", "--backbone", "demo", *test, *place]
    assert main([*run, "--fold", "0", "--data.test.episodes=12"]) == 0
    capsys.readouterr()
    rough = "\n".join(asked(*names))
    assert "prototype_demo; fold 0 alone; 12 episodes a fold instead of 1000" in rough and WITHIN not in rough
    assert any("efficientnet_lite0" in command for command in commands(rough.splitlines()))
    number = float(re.search(r"difference of two scores by up to ±([\d.]+)", rough)[1])
    assert (BEYOND in rough) == (number < 0.7)
    five = "\n".join(asked("HSNet/pascal-5i", "ASNet-FSS/pascal-5i", "--runs", str(tmp_path / "none")))
    assert "No run here" in five


@pytest.mark.slow(20)
def test_every_command_is_of_the_test_that_it_is_printed_for_and_runs(asked, real_data, tmp_path, capsys):
    place = ["--data-root", str(real_data / "voc-mini")]
    found = [each for names in (("BAM", "HMNet"), ("HSNet/pascal-5i", "AFANet")) for each in commands(asked(*names))]
    for number, command in enumerate(found):
        program, *words = shlex.split(command)
        assert program == "fsbench" and "pascal" in words and re.search("--protocol atlas:[^ ]+/pascal-5i", command)
        if words[0] == "kit":
            words[words.index("--out") + 1] = str(tmp_path / f"kit{number}")
            assert main([*words, *place]) == 0
        else:
            main([*words, "--dry-run", "--runs", str(tmp_path / "runs")])
            cells = 4 * len(words[words.index("--method") + 1].split(","))
            assert re.search(rf"0 of {cells} runs done, {cells} lacking files", capsys.readouterr().out)
    assert {each.split()[1] for each in found} == {"bench", "kit"}
