"""The short table: folds side by side, what is left out for want of room, the best figure, the next command."""

import pytest

from fsbench.cli.main import main
from fsbench.results.sheets.fitting import fit
from fsbench.results.sheets.legend import INTERVAL_NOTE
from fsbench.results.sheets.names import shorten
from fsbench.results.sheets.text import table_lines
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.breakdowns import short_table, to_sheet
from fsbench.results.tables.render import render
from fsbench.scores.estimate import Estimate
from tests.fsbench.results.scored import grid_of, scored

LONG = "emat (backbone dino_vits8_300ep, learning_rate 0.001, image_size 473)"


def of_line(method, fold, shift, **more):
    scores = {"mIoU": 50 + shift, "FB-IoU": 70 + shift, "accuracy": 80 + shift} | more
    return scored(method, fold, {name: Estimate(value, value - 1, value + 2) for name, value in scores.items()}, "r")


def block(names=("prototype", LONG), classes=5, folds=4, present=None, **more):
    rows = []
    for number, name in enumerate(names):
        for fold in range(folds if present is None else present):
            rows += of_line(name, str(fold), number + fold / 10)
        rows += of_line(name, "mean", number + 0.15) if present is None and folds > 1 else []
    for fold in range(folds):
        rows += of_line("(all foreground)", str(fold), -30 - fold) + of_line("(all background)", str(fold), -40)
    if folds > 1:
        rows += of_line("(all foreground)", "mean", -29.5 - folds / 2) + of_line("(all background)", "mean", -40)
    return Block("title", rows, [], folds=folds, classes={str(f): classes for f in range(folds)}, **more)


@pytest.mark.parametrize(("classes", "width"), [(5, 100), (20, 100), (5, 80), (20, 80), (5, 64)])
def test_it_fits(classes, width):
    lines = render([block(classes=classes)], "text", width=width).splitlines()[2:6]
    assert max(map(len, lines)) <= width
    head = lines[0].split()
    assert head[:6] == ["method", "mIoU", *(f"{classes}{power}" for power in "⁰¹²³")]
    assert ("interval" in head) == (width == 100) and ("accuracy" in head) == (width > 64) and "mean" in head
    assert "prototype" in lines[2] and "50.00  50.10  50.20  50.30  50.15" in lines[2].replace("   ", "  ")
    assert "…" in lines[3] and lines[3].startswith("emat …")


def test_what_is_left_out_is_said_and_other_formats_leave_nothing_out():
    fitted = fit(to_sheet(block()), 80)
    assert "95 % interval" not in grid_of(fitted.sheet.tables[0])[0]
    assert "* not shown: 95 % interval; a wider terminal has room" in render([block()], "text", width=80)
    for form in ("markdown", "latex"):
        text = render([block()], form, width=20)
        assert "[49.15, 52.15]" in text and "a wider terminal" not in text
        assert LONG in text.replace("\\_", "_")


def test_where_the_folds_go_what_fits_comes_back():
    """The mean keeps its metric's name."""
    table = fit(to_sheet(block()), 56).sheet.tables[0]
    assert grid_of(table)[0] == ["method", "mIoU mean", "FB-IoU", "accuracy"]
    assert max(map(len, table_lines(table))) <= 56


def test_short_names_stay_different():
    names = [f"emat (learning rate of 0.{n}01 and whatever is the same in all of them)" for n in range(4)]
    fitted = fit(to_sheet(block(["hsnet", *names])), 90)
    grid = grid_of(fitted.sheet.tables[0])
    assert [note for note in fitted.names if note[:3] == "3: "] == [f"3: {names[1]}"] and grid[1][0] == "hsnet"
    assert len({line[0] for line in grid[1:-1]}) == 5 and all("…" in line[0] for line in grid[2:-1])
    assert grid[-1][0] == "(best without a model)"
    assert all(len(line) <= 90 for line in table_lines(fitted.sheet.tables[0]))


def test_short_names_keep_the_settings_that_tell_them_apart():
    """They are whole settings where one has room, else its last words; no letter of a word is cut."""
    clipped = [f"lin (gradient_clip_val 0.{n}, max_epochs 1, image_size 473)" for n in range(3)]
    several = [*shorten(["hsnet", "lin (image_size 473)", *clipped], (28,)).values()]
    assert several[1:] == ["lin (image_size 473)", *(f"lin …gradient_clip_val 0.{n}" for n in range(3))]
    one = [*shorten(["lin", "lin (max_epochs 1)", *clipped], (22,)).values()]
    assert one == ["lin", "lin (max_epochs 1)", *(f"…gradient_clip_val 0.{n}" for n in range(3))]
    assert [*shorten(["lin", *clipped], (14,)).values()] == ["lin", *(f"…clip_val 0.{n}" for n in range(3))]
    rates = ["sgd (betas [0.9, 0.99], lr 1)", "sgd (betas [0.8, 0.99], lr 1)"]
    assert [*shorten(rates, (20,)).values()] == ["…betas [0.9, 0.99]", "…betas [0.8, 0.99]"]


def test_one_fold_and_no_folds():
    grid = grid_of(short_table(block(present=1)))
    assert grid[0] == ["method", "mIoU 5⁰", "95 % interval", "FB-IoU", "accuracy"]
    assert grid[1][1:] == ["50.00", "[49.00, 52.00]", "70.00", "80.00"]
    assert grid[-1] == ["(best without a model)", "20.00", "", "40.00", "50.00"]
    assert not any("folds are there" in note for note in to_sheet(block(present=1)).notes)
    assert grid_of(short_table(block(folds=1, classes=240)))[0][:2] == ["method", "mIoU"]  # FSS-1000
    classes = Block("t", scored("nn", "all", {"accuracy": Estimate(60, 59, 61)}), [], ("accuracy",))
    assert grid_of(short_table(classes)) == [["method", "accuracy", "95 % interval"], ["nn", "60.00", "[59.00, 61.00]"]]


def test_some_folds_have_no_mean():
    grid = grid_of(short_table(block(present=2)))
    (missing,) = [note for note in to_sheet(block(present=2)).notes if "folds have runs" in note]
    assert grid[0] == ["method", "mIoU 5⁰", "5¹"] and grid[2][1:] == ["51.00", "51.10"]
    assert missing.startswith("2 of 4 folds have runs, so there is no mean over folds. --by fold shows")
    assert grid[-1] == ["(best without a model)", "20.00", "19.00"]
    percent = f"{INTERVAL_NOTE}, same weights. Scores in percent"
    assert percent not in render([block(present=2)], "text")  # nor is any interval explained
    assert percent in render([block(present=2)], "text", ["fold"]) and percent in render([block()], "text")
    both = render([block(metrics=("mIoU", "ROM"))], "text")
    assert f"{percent} (ROM: from 0 to 1)" in both


def test_the_mean_of_the_answers_without_a_model():
    grid = grid_of(short_table(block()))
    assert grid[-1] == ["(best without a model)", "20.00", "19.00", "18.00", "17.00", "18.50", "", "38.50", "48.50"]


def bold(of):
    """(line, column) of the best figures of a block's short table."""
    lines = enumerate(short_table(of).lines, 1)
    return {(i, j) for i, line in lines for j, cell in enumerate(line.cells) if cell.place == "best"}


def test_the_best_of_each_column_is_bold():
    lines = [
        of_line(*of, accuracy=value) for *of, value in (("a", "0", 0, 90), ("b", "0", 1, 80), ("c", "0", 1.001, 70))
    ]
    of_one_fold = Block("t", [row for line in lines for row in line], [], folds=4, classes={"0": 5})
    assert grid_of(short_table(of_one_fold))[0] == ["method", "mIoU 5⁰", "95 % interval", "FB-IoU", "accuracy"]
    assert bold(of_one_fold) == {(2, 1), (3, 1), (2, 3), (3, 3), (1, 4)}  # b and c are alike as printed; a decides best
    assert "| a | 50.00 | [49.00, 52.00] | 70.00 | **90.00** |" in render([of_one_fold], "markdown")
    latex = render([of_one_fold], "latex")
    assert r"b & \textbf{51.00} & [50.00, 53.00] & \textbf{71.00} & 80.00 \\" in latex
    assert (
        r"method & mIoU 5$^0$ & 95 \% interval" in latex and latex.count(r"\toprule") == latex.count(r"\midrule") == 1
    )
    assert r"\usepackage{booktabs}" in latex and r"\hline" not in latex
    errors = Block("t", of_line("a", "0", 0, error=10) + of_line("b", "0", 0, error=5), [], ("error",), folds=4)
    assert bold(errors) == {(2, 1)}
    assert not bold(Block("t", lines[0], [], folds=4, classes={"0": 5}))


@pytest.mark.slow(1)
def test_the_next_commands_do_what_they_say(make, tmp_path, capsys, monkeypatch):
    for method in ("good", "bad"):
        make(method, 0, 1 + (method == "bad"))
    folders = sorted(str(path) for path in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path.parent)
    for given in ([str(tmp_path)], folders):
        assert main(["table", *given, "--metrics", "mIoU"]) == 0
        last = capsys.readouterr().out.splitlines()[-3:]
        assert last == ["next:", f"  fsbench compare {tmp_path}", f"  fsbench report {tmp_path}"]
    assert main(["compare", str(tmp_path), "--metrics", "mIoU"]) == 0
    make("other", 0, way=2)
    capsys.readouterr()
    assert main(["table", str(tmp_path), "--metrics", "mIoU"]) == 0  # two tables, one of which has two methods
    assert capsys.readouterr().out.splitlines()[-2] == f"  fsbench compare {tmp_path}"
    assert main(["table", str(tmp_path), "--all"]) == 0
    printed = capsys.readouterr().out
    assert f"{folders[0]}: run.json, episodes.parquet" in printed and "peak memory" in printed
    assert "by object size" in printed and "by class" in printed and "mIoU by fold" in printed
