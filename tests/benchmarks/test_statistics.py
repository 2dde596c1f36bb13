"""The simulation of intervals and tests: its designs, its truth, its files, and in short what it finds."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.pages import fill
from benchmarks.statistics.__main__ import main
from benchmarks.statistics.answers import COLUMNS, draw_answers, fb_iou, mean_iou
from benchmarks.statistics.cells import CELLS, Equivalence, Segmentation
from benchmarks.statistics.page import MAIN, PAGE, tables
from benchmarks.statistics.procedure import Procedure
from benchmarks.statistics.results import MEASURES, RESULTS, Tally, read_results, write_results
from benchmarks.statistics.simulation import generator, simulate
from benchmarks.statistics.structures import official, pools, regular
from fsbench.base.errors import DataError
from fsbench.data.episodes.manifest import read_manifest
from fsbench.scores.decisions import equivalent

QUICK = "class-images-10"


def test_the_page_has_what_was_simulated():
    results = read_results()
    assert fill(PAGE.read_text(), tables(results)) == PAGE.read_text()
    assert results.keys() <= CELLS.keys()
    for cell, tallies in results.items():
        assert tallies.keys() <= MEASURES.keys(), cell
        for tally in tallies.values():
            assert 0 <= tally.held <= tally.printed <= tally.repetitions


def test_the_page_says_why_a_cell_misses_its_limit():
    """Cells that miss a limit are explained in prose, and no others."""
    page = PAGE.read_text()
    why = page[page.index("Why they miss it:") : page.index("<!-- results: coverage -->")]
    missing = [
        cell
        for cell, tallies in read_results().items()
        if any(tally.verdict(MEASURES[name]) in ("fails", "within its error") for name, tally in tallies.items())
    ]
    assert missing and [line.split("`")[1] for line in why.splitlines() if line.startswith("- `")] == missing


def test_every_cell_has_a_thousand_data_sets_or_is_named_as_one_that_has_fewer():
    results, short = read_results(), tables(read_results())["short"]
    few = {cell for cell, of in results.items() if {tally.repetitions for tally in of.values()} != {1000}}
    lines = {line.split("**")[1]: line for line in short.splitlines()}
    for head, cells in {"Fewer than": few, "Not simulated": CELLS.keys() - results.keys()}.items():
        (line,) = (line for name, line in lines.items() if name.startswith(head))
        assert all(f"`{cell}`" in line for cell in cells)


@pytest.mark.slow(1)
def test_data_sets_of_two_procedures_are_not_added(tmp_path):
    """Figures of another procedure are marked, and drawn anew."""
    with pytest.raises(ValueError, match="found data sets of procedures 3 and 2"):
        Tally(10, 10, 9) + Tally(10, 10, 9, procedure=2)
    file = tmp_path / "results.csv"
    write_results({QUICK: {"score": Tally(1000, 1000, 950, procedure=2)}}, file)
    shown = tables(read_results(file))
    assert "| one class of 10 images, no support effects | 1,000 ¹ | .950 ± .007 |" in shown["coverage"]
    assert shown["short"].splitlines()[-1] == f"- **Of the procedure before today's (¹)**: `{QUICK}`."
    assert main([QUICK, "--repetitions", "4", "--results", str(file)]) == 0
    assert {tally.repetitions for tally in read_results(file)[QUICK].values()} == {4}


def test_official_episodes_are_those_of_the_manifests():
    folder = RESULTS.parents[1] / "manifests/pascal"
    for name, test in {
        "fscs-fold0-1way1shot-original": official((0,)),
        "fscs-fold2-1way5shot-original": official((2,), 5),
        "fscs-fold0-1way1shot-0-5": official((0,), 1, "0-5"),
    }.items():
        episodes = read_manifest(folder / f"{name}.jsonl.gz").episodes
        rows = [(one.query, *one.supports[0]) for one in episodes]
        names: dict[str, int] = {}
        numbers = [[names.setdefault(image, len(names)) for image in row] for row in rows]
        assert np.column_stack([test.query, test.support]).tolist() == numbers
        assert [one.classes[0] - min(o.classes[0] for o in episodes) for one in episodes] == test.cls.tolist()
        own = np.array([one.query_class == one.classes[0] for one in episodes])
        assert test.present[own].all()  # elsewhere a query may show the class by chance
    assert official((0, 1)).fold.tolist() == [0] * 1000 + [1] * 1000 and len(set(official((0, 1)).cls.tolist())) == 10


def test_shots_that_no_list_has_are_drawn_from_the_class_in_the_list():
    test, listed = official((0,), 5, "0-5"), official((0,), 1, "0-5")
    assert _in_order(test.query) == _in_order(listed.query) and (test.cls == listed.cls).all()
    assert all(len({query, *row}) == 6 for query, row in zip(test.query.tolist(), test.support.tolist(), strict=True))


def _in_order(numbers):
    """Number images anew in the order in which they appear."""
    places: dict[int, int] = {}
    return [places.setdefault(number, len(places)) for number in numbers.tolist()]


def test_regular_designs_are_what_they_say():
    test = regular(3, 4, 2, folds=2, runs=2, often=2, shared=0.5)
    assert len(test.query) == 3 * 4 * 2 * 2 * 2
    first, second = (set(test.query[test.fold == fold].tolist()) for fold in (0, 1))
    assert len(first) == len(second) == 12 and len(first & second) == 6
    for number in range(6):
        assert len(set(test.support[test.cls == number].ravel().tolist())) <= 2
    fitted = regular(3, 4, folds=2, runs=3, fitted=True)
    sets = {(f, r): s for f, r, s in zip(fitted.fold, fitted.run, fitted.support[:, 0], strict=True)}
    assert len(set(sets.values())) == len(sets) == 6


def test_pools_are_of_a_class_and_without_the_query():
    own = pools((5, 4), 2)
    assert own.cls.tolist() == [0] * 5 + [1] * 4 and own.query.tolist() == list(range(9))
    for query, supports, cls in zip(own.query, own.support, own.cls, strict=True):
        assert len({query, *supports}) == 3 and set(own.cls[supports]) == {cls}
    apart = pools((5, 4), 2, 3, often=2)
    assert not set(apart.query) & set(apart.support.ravel()) and len(apart.query) == 18
    assert len(set(apart.support[apart.cls == 1].ravel())) == 3


def test_an_image_may_be_as_hard_as_a_support_as_it_is_as_a_query():
    test = pools((30,), 1)
    moved = {}
    for role in (0.0, 1.0):
        drawn = [draw_answers(test, generator("x", n), role=role)[0] for n in range(150)]
        moved[role] = np.var([mean_iou(test, counts) for counts in drawn])
    assert moved[1.0] > 1.2 * moved[0.0]
    large = draw_answers(test, generator("x", 0), size_deviation=2.0)
    assert (large[..., 3] > 0).all() and large[..., 1].max() > 150_000


@pytest.mark.parametrize(
    "name", ["pascal-1shot", "size-4folds", "shared-50", "fitted-4folds-2runs", "pascal-1shot-fb-iou"]
)
def test_the_truth_is_made_of_the_score_that_is_printed(name):
    cell = CELLS[name]
    assert isinstance(cell, Segmentation)
    test = cell.structure()
    counts = draw_answers(test, generator(name, 0))
    found, difference = Procedure(test).score_and_difference(counts, cell.metric)
    first, second = ({"mIoU": mean_iou, "FB-IoU": fb_iou}[cell.metric](test, own) for own in counts)
    assert found.value == pytest.approx(first) and difference.value == pytest.approx(first - second)


def test_methods_are_equal_unless_one_has_an_advantage():
    test = regular(5, 30, 12)
    drawn = [draw_answers(test, generator("x", number), advantage=0.0) for number in range(150)]
    gaps = [mean_iou(test, first) - mean_iou(test, second) for first, second in drawn]
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / 150**0.5
    better = [draw_answers(test, generator("x", number), advantage=0.5) for number in range(30)]
    assert np.mean([mean_iou(test, first) - mean_iou(test, second) for first, second in better]) > 5
    counts = drawn[0]
    names = {name: counts[..., place] for place, name in enumerate(COLUMNS)}
    assert (names["intersection"] <= names["union"]).all()
    assert (names["background intersection"] <= names["background union"]).all()
    one, other = (draw_answers(test, generator("x", 3), support_rng=np.random.default_rng(5)) for _ in range(2))
    assert (one == other).all()


@pytest.mark.slow(1)
def test_a_data_set_follows_from_its_cell_and_number_alone():
    whole = list(simulate(QUICK, 0, 60))
    parts = [*simulate(QUICK, 0, 13), *simulate(QUICK, 13, 60, jobs=2)]
    assert _sum(whole) == _sum(parts)
    assert generator(QUICK, 1).random() != generator(QUICK, 2).random() != generator("images-2", 2).random()


def _sum(parts):
    total: dict[str, Tally] = {}
    for part in parts:
        total = {name: total.get(name, Tally(0, 0, 0)) + tally for name, tally in part.items()}
    return total


def test_only_missing_data_sets_are_drawn(tmp_path, capsys):
    file = tmp_path / "results.csv"
    words = ["--results", str(file)]
    assert main([QUICK, "--repetitions", "4", *words]) == 0
    assert main([QUICK, "--repetitions", "10", *words]) == 0
    in_two = read_results(file)
    assert main([QUICK, "--repetitions", "10", *words]) == 0 and read_results(file) == in_two
    assert main([QUICK, "--repetitions", "10", "--again", *words]) == 0 and read_results(file) == in_two
    assert {tally.repetitions for tally in in_two[QUICK].values()} == {10}
    capsys.readouterr()
    assert main(["--list", *words]) == 0
    assert f"{QUICK:28}     10  one class of 10 images" in capsys.readouterr().out
    assert main(["--markdown", *words]) == 0
    shown = capsys.readouterr().out
    assert f"`{QUICK}` 10" in shown and "`pascal-1shot`" in shown and "| one class of 10 images" in shown


def test_what_cannot_be_simulated_is_refused_in_one_line(tmp_path, capsys):
    assert main(["pascal-1shots"]) == 2
    assert "there is no cell pascal-1shots; did you mean 'pascal-1shot'?" in capsys.readouterr().err
    assert main([QUICK, "--repetitions", "0"]) == 2 and "1 or more" in capsys.readouterr().err
    file = tmp_path / "results.csv"
    file.write_text("cell,measure,procedure,repetitions,printed,held\nimages-2,score,3,10,ten,9\n")
    with pytest.raises(DataError, match=r"line 2: found .*'ten'.*, expected cell, measure"):
        read_results(file)


def test_verdicts_know_the_monte_carlo_error():
    coverage, false = MEASURES["score"], MEASURES["different"]
    assert [Tally(1000, 1000, n).verdict(coverage) for n in (930, 929, 913, 911)] == [
        "holds", "within its error", "within its error", "fails"
    ]  # fmt: skip
    assert [Tally(1000, 1000, n).verdict(false) for n in (60, 61, 75, 77)] == [
        "holds", "within its error", "within its error", "fails"
    ]  # fmt: skip
    assert Tally(9, 9, 0).verdict(MEASURES["endless"]) == ""


def test_a_share_of_none_or_all_is_not_known_exactly():
    """The errors are those of Laplace's rule: of few data sets that all agree nothing is certain."""
    for held in (0, 50):
        assert Tally(50, 50, held).error == pytest.approx((1 / 52 * 51 / 52 / 52) ** 0.5)
    assert Tally(50, 50, 0).error > 0.015 and Tally(1000, 1000, 0).error < 0.0015
    assert Tally(20, 20, 18).verdict(MEASURES["score"]) == "within its error"


def test_equivalence_is_shown_of_methods_that_are_alike():
    """The margin of its cell is some errors of the test: where it hardly could be shown, no false one would be seen."""
    cell = CELLS["equivalent"]
    assert isinstance(cell, Equivalence)
    test = regular(5, 80, 40)
    drawn = (draw_answers(test, generator("y", n), support_effect=cell.support_effect) for n in range(40))
    found = [Procedure(test).score_and_difference(both, "mIoU")[1] for both in drawn]
    assert sum(equivalent(one, cell.margin) for one in found) > 10


def test_tables_say_what_fails_and_what_was_not_printed(tmp_path):
    file = tmp_path / "results.csv"
    held = {"score": Tally(1000, 1000, 800), "difference": Tally(1000, 600, 570), "different": Tally(1000, 600, 40)}
    write_results({"images-2": held, "family": {"star": Tally(1000, 1000, 20)}}, file)
    shown = tables(read_results(file))
    row = "| 5 classes of 2 images, no support effects | 1,000 | .800 ± .013 ‡ | .950 ± .009 of 600 |"
    assert f"{row} .067 ± .010 of 600 † |  |" in shown["coverage"].splitlines()
    assert (
        "| a star on any of 70 comparisons of six equal methods | 1,000 | .020 ± .005 | ≤ .060 |" in shown["decisions"]
    )
    *bears, fails, within, few, missing, earlier = shown["short"].splitlines()
    assert bears == [
        "- **Score covered**, over 1 cells: .800 (`images-2`) to .800 (`images-2`).",
        "- **Difference covered**, over 1 cells: .950 (`images-2`) to .950 (`images-2`).",
        '- **False "different"**, over 1 cells: .067 (`images-2`) to .067 (`images-2`).',
    ]
    assert "(`images-2`), score covered." in fails and 'false "different".' in within
    assert few.endswith("`images-2` 600.") and "`pascal-1shot`" in missing and earlier.endswith(": none.")


@pytest.mark.slow(25)
def test_every_cell_says_what_held():
    for name, cell in CELLS.items():
        few = {"truths": 3} if hasattr(cell, "truths") else {}
        found = replace(cell, **few).draw(generator(name, 0))  # a copy, whose truth is not kept
        assert found and found.keys() <= MEASURES.keys() and all(one in (True, False) for one in found.values()), name
        assert set(found) <= set(MAIN) or set(found).isdisjoint(MAIN)


@pytest.mark.slow(25)
def test_intervals_hold_and_equal_methods_are_seldom_called_different():
    short = {
        "pascal-1shot": 100, "size-1shot": 150, "class-images-10": 200, "fitted-5runs": 80, "supports-2": 150,
        "calibrated-100": 200, "accuracy-95": 200, "family": 40, "published": 100,
    }  # fmt: skip
    for name, number in short.items():
        for measure, tally in _sum(simulate(name, 0, number)).items():
            least, most = MEASURES[measure].least, MEASURES[measure].most
            assert tally.printed == number, name
            assert least is None or tally.share > least - 4 * tally.error - 0.01, (name, measure, tally)
            assert most is None or tally.share < most + 4 * tally.error + 0.01, (name, measure, tally)


@pytest.mark.slow(4)
def test_the_simulation_finds_intervals_that_do_not_hold():
    """Without the supports' variance most of the equal methods of five runs are called different."""
    cell = CELLS["fitted-5runs"]
    assert isinstance(cell, Segmentation)
    test = cell.structure()
    procedure, called = Procedure(test), 0
    for number in range(60):
        _, found = procedure.score_and_difference(draw_answers(test, generator("x", number)), "mIoU")
        called += abs(found.value) > 1.96 * found.variances[0] ** 0.5
    assert called > 25
