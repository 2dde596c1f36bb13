"""Names of methods are whole in every figure, and no words of it are cut off at its edge."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fsbench.cli.main import main
from fsbench.results.pictures.figure import FigureRow, write_figure
from fsbench.results.sheets import drawing
from fsbench.results.sheets.names import wrap_name
from tests.fsbench.pages.report.studies import write_study

NAMES = ("prototype_demo (steps 1, support_annotation box)", "dense_classifier_with_lora (backbone dinov2_vits14_reg4)")


def letters(svg: str) -> str:
    """All letters of an SVG whose text is text, or beside whose shapes the text stands as a comment, without gaps."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    return re.sub(r"\s", "", "".join(node.text or "" for node in ElementTree.fromstring(svg, parser).iter()))


def whole(name: str) -> str:
    return re.sub(r"\s", "", name)


@pytest.mark.parametrize("width", [1, 5, 24, 200])
def test_a_name_is_broken_into_lines_that_fit_and_loses_no_letter(width):
    for name in (*NAMES, "", "a" * 60, "a/b_c d", "  gaps   inside  "):
        lines = wrap_name(name, lambda line: len(line) <= width)
        assert whole("".join(lines)) == whole(name) and max(map(len, lines)) <= width
    assert wrap_name("prototype_demo", lambda line: len(line) <= 11) == ["prototype_", "demo"]


@pytest.mark.slow(3)
def test_names_are_whole_in_the_plots_of_a_report_and_in_those_of_commands(tmp_path):
    labels = ("prototype_of_the_mean_of_all_support_tokens_demo", "dense_classifier_with_low_rank_adaptation")
    methods = {**dict(zip(labels, (0.6, 0.5), strict=True)), "short": 0.4}  # costs of two are not drawn
    write_study(tmp_path / "runs", methods, 1, classes=4, episodes=200, epochs=3)
    runs = str(tmp_path / "runs")
    assert main(["report", runs, "--out", str(tmp_path / "r")]) == 0
    assert main(["compare", runs, "--plot", str(tmp_path / "r/study-1/compare.svg")]) == 0
    for figure in ("apart", "classes", "compare", "curves", "sizes", "cost-seconds", "cost-memory", "cost-trainable"):
        text = letters((tmp_path / f"r/study-1/{figure}.svg").read_text())
        assert all(whole(label) in text for label in labels), figure


@pytest.mark.parametrize("rows", [1, 4])
def test_rows_of_a_figure_have_whole_names_that_do_not_touch(rows):
    names = [f"{name} {number}" for number in range(rows) for name in NAMES]
    height = 1.6 + 0.15 * (2 + drawing.most_lines(names, drawing.ROW_NAME)) * len(names)
    figure = Figure((9, height), layout="constrained")
    axis = figure.subplots()
    drawing.name_rows(axis, names, {names[0]: "masks 51.2"})
    figure.draw_without_rendering()
    labels = axis.get_yticklabels()
    for label, name in zip(labels, names, strict=True):
        assert whole(label.get_text()).startswith(whole(name))
    boxes = [label.get_window_extent() for label in labels]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    outer = figure.bbox
    for text in figure.findobj(Text):
        box = text.get_window_extent()
        assert not text.get_text() or (box.x0 >= outer.x0 - 1 and box.x1 <= outer.x1 + 1), text


def test_a_figure_for_a_paper_has_whole_names(tmp_path):
    tile = [np.zeros((30, 40, 3), dtype=np.uint8)] * 8  # eight columns: the lowest tiles
    size = write_figure(tmp_path / "a.svg", ["dog"] * 8, [FigureRow(name, tile, [""] * 8) for name in NAMES])
    root = ElementTree.fromstring((tmp_path / "a.svg").read_text())
    words = [node for node in root.iter("{http://www.w3.org/2000/svg}text") if "rotate(-90" in str(node.attrib)]
    assert [whole("".join(node.itertext())) for node in words] and all(
        whole(name) in "".join(whole("".join(node.itertext())) for node in words) for name in NAMES
    )
    lefts = [float(place) for node in words for place in re.findall(r"translate\(([\d.]+)", str(node.attrib))]
    assert min(lefts) > 5 and max(lefts) < 72 * size[0] / 4, "the lines stand beside the tiles, inside the figure"
