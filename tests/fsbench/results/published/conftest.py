"""Reported figures, and runs like the papers' own that stand beside them."""

from dataclasses import replace

import pytest

from fsbench.runner.papers.results import published_scores
from tests.fsbench.official_runs import official as official


@pytest.fixture(scope="module")
def figures():
    return published_scores()


@pytest.fixture(scope="module")
def reported(figures):
    """EMAT's mIoU on PASCAL, as if it were that of fold 0, with one digit."""
    wanted = ("EMAT", "pascal", "mIoU", "original")
    (paper,) = (f for f in figures if (f.method, f.dataset, f.metric, f.stated) == wanted)
    return replace(paper, fold="0", value=63.4, digits=1)
