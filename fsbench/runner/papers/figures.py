"""The published figures that a paper's row stands for."""

import re
from collections.abc import Iterable

from fsbench.results.tables.published.scores import PublishedScore
from fsbench.runner.papers.files import PaperRow


def row_scores(row: PaperRow, published: Iterable[PublishedScore]) -> list[PublishedScore]:
    """Return the figures among `published` that `row` names, of every fold and metric."""
    name = row.entry.reported
    source = re.compile(re.escape(name.source or row.source) + r"(?!\w)")
    task = (row.dataset, row.way, row.shot, row.setting)
    return [
        score
        for score in published
        if (score.method, score.backbone) == (name.method, name.backbone)
        and (score.dataset, score.way, score.shot, score.setting) == task
        and name.stated in (None, score.stated)
        and source.match(score.source)
    ]
