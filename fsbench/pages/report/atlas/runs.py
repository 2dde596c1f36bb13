"""Runs of a report as entries of the atlas, so that they stand among the published figures."""

from collections.abc import Sequence
from dataclasses import replace

from fsbench.pages.report.collect import Study
from fsbench.records.grouping import all_runs
from fsbench.results.atlas.atlas import Atlas
from fsbench.results.published.at_hand import atlas_metrics, is_in_atlas, run_entry
from fsbench.scores.estimate import Estimate


def has_published(studies: Sequence[Study]) -> bool:
    """Return whether a study is about a data set for which fsbench lists published scores."""
    return any(is_in_atlas(study.records[0]) for study in studies)


def with_runs(atlas: Atlas, studies: Sequence[Study]) -> Atlas:
    """Return the published scores with an entry added for each method of each study on the same data sets."""
    own = [
        run_entry(label, all_runs(runs), _scores(study, label), atlas.programs, study.number)
        for study in studies
        if is_in_atlas(study.records[0])
        for label, runs in study.methods.items()
    ]
    return replace(atlas, entries=[*atlas.entries, *own])


def _scores(study: Study, label: str) -> dict[str, dict[str, Estimate]]:
    """Return the scores of a method by fold and metric."""
    metrics = atlas_metrics(study.records[0])
    return {
        str(fold): {metric: scores[metric] for metric in metrics if metric in scores}
        for (method, fold), scores in study.block.lines.items()
        if method == label
    }
