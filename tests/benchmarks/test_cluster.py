"""The plan of a large grid: runs on GPUs, and what a lost node costs."""

import pytest

from benchmarks import cluster
from benchmarks.pages import fill


def test_the_page_has_the_tables_that_the_model_computes():
    page = cluster.PAGE.read_text()
    assert fill(page, cluster.tables()) == page


def test_a_free_gpu_takes_the_next_run():
    assert cluster.schedule([0.0, 5.0], [10.0, 1.0, 2.0, 4.0]) == [(0, 0, 10), (1, 5, 6), (1, 6, 8), (1, 8, 12)]


@pytest.mark.parametrize(
    ("lost_at", "back_after", "end"),
    [
        (40.0, None, 30),  # all is done
        (10.0, None, 30 + 20 + 11),  # on the GPUs that stay, after their own
        (10.0, 0.0, 10 + 20 + 11),  # on the node itself, which is back at once
    ],
)
def test_runs_of_a_lost_node_go_on_elsewhere(monkeypatch, lost_at, back_after, end):
    """Eight runs of 30 seconds; another start takes 10 seconds, an episode 1."""
    monkeypatch.setattr(cluster, "START", 10.0)
    monkeypatch.setattr(cluster, "GPU_RATES", {"one": 1})
    assert cluster.end_after_loss([30.0] * 8, lost_at, back_after) == pytest.approx(end)


def test_a_run_waits_for_its_gpu_or_for_its_loaders():
    start, episodes = cluster.START, cluster.EPISODES
    assert cluster.Run(gpu=0.1, decode=0.02, after=0.01).seconds == pytest.approx(start + episodes * 0.11)
    assert cluster.Run(gpu=0.001, decode=0.02, after=0.01).seconds == pytest.approx(start + episodes * 0.015)
