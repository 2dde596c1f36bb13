"""A figure's episodes are spread over the IoU of those whose query shows a class."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.datamodules.datasets.folder import Folder
from fsbench.pages.explain.paper_figure import draw_paper_figure, spread_episodes


def test_quantiles_of_episodes_that_show_a_class():
    ious = {number: [(37 * number % 100) / 100] for number in range(100)} | {100: [None], 101: [0.0]}
    present = {number: [True] for number in range(100)} | {100: [False], 101: [False]}
    chosen = spread_episodes(ious, present, 5)
    assert [ious[number] for number in chosen] == [[0.1], [0.3], [0.5], [0.7], [0.9]]


def test_several_ways_are_averaged_over_those_shown_and_equal_ones_keep_their_order():
    ious = {0: [0.9, 0.0], 1: [0.25, 0.75], 2: [0.0, 0.5], 3: [0.5, None]}
    present = {0: [True, False], 1: [True, True], 2: [False, True], 3: [True, True]}
    assert spread_episodes(ious, present, 9) == [3, 1, 2, 0]  # 0.25, 0.5, 0.5, 0.9


def test_nothing_to_show():
    with pytest.raises(SettingsError, match="no query of the test shows its class"):
        spread_episodes({0: [None]}, {0: [False]}, 8)


@pytest.mark.slow(3)
def test_further_draws_are_not_chosen(make, blocks_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.pages.explain.paper_figure.open_dataset", lambda record: Folder(str(blocks_folder)))
    record = make("m", 0, quality=3, keep="masks", draws=2)
    assert len(record.every_draw["episode"].unique()) == 48
    figure = draw_paper_figure([record.path], tmp_path / "figure.png", [], 8)
    assert len(figure.episodes) == 8 and max(figure.episodes) < 24
