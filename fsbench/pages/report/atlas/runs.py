"""Runs of a report as entries of the atlas, so that they stand among the published figures."""

from collections.abc import Sequence
from dataclasses import replace

from fsbench.pages.report.collect import Study
from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.program_rows import slug
from fsbench.protocols.programs import Program
from fsbench.records.grouping import all_runs
from fsbench.results.atlas.atlas import Atlas, Entry, Reported
from fsbench.results.atlas.figures import Figure
from fsbench.results.published.conditions import run_conditions

METRICS = ("mIoU", "FB-IoU")
"""Scores of runs that published figures have, too; those follow whose words the atlas has from their protocol."""


def has_published(studies: Sequence[Study]) -> bool:
    """Return whether a study is about a data set that the atlas has."""
    return any(study.records[0].header.dataset in ATLAS_NAMES for study in studies)


def with_runs(atlas: Atlas, studies: Sequence[Study]) -> Atlas:
    """Return the atlas with an entry for each method of each study on a data set that it has.

    A figure is one of the whole test where all folds are there; else each fold stands by itself, without a rank.
    """
    own = [
        _entry(study, label, atlas.programs)
        for study in studies
        if study.records[0].header.dataset in ATLAS_NAMES and study.protocol.has_masks
        for label in study.methods
    ]
    return replace(atlas, entries=[*atlas.entries, *own])


def _entry(study: Study, label: str, programs: Sequence[Program]) -> Entry:
    records = all_runs(study.methods[label])
    first = records[0]
    header, backbone = first.header, first.run.identity.backbone.name
    conditions = run_conditions(first, programs)
    setting = header.setting if header.setting == "original" else header.setting.replace("_", " ")
    source = f"run by {header.rules}, {setting}: {', '.join(r.run.id for r in records)}"
    metrics = dict.fromkeys((*METRICS, *(metric.name for metric in study.protocol.metrics if metric.atlas_metric)))
    figures = []
    for (method, fold), scores in study.block.lines.items():
        whole = fold == "mean" or header.folds == 1
        for metric in metrics if method == label else ():
            if metric in scores:
                value = scores[metric].value
                figure = Figure(
                    method=label, backbone=backbone, dataset=conditions["dataset"], fold="mean" if whole else fold,
                    way=str(header.way), shot=str(header.shot), setting=setting, metric=metric, value=value,
                    printed=f"{value:.1f}", source=source,
                )  # fmt: skip
                figures.append(Reported(figure, "", 0, repeated=False, note=""))
    if setting != "original":  # supports or sizes that no published program has
        conditions["image_lists"] = f"{conditions['image_lists']}, {setting}"
    name = "/".join(("run", slug(label), slug(conditions["dataset"]), str(study.number)))
    return Entry(name, label, backbone, "run", conditions["dataset"], None, conditions, tuple(figures), ours=True)
