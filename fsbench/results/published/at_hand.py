"""Runs at hand as entries of the atlas, so that they stand among the published figures and tell how far these move."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from fsbench.protocols.conditions import ATLAS_NAMES, DATASET, IMAGE_LISTS, NOT_STATED, metric_word
from fsbench.protocols.programs import Program, slug
from fsbench.records.grouping import all_runs, comparable, runs_by_fold, variants
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import Entry, Reported
from fsbench.results.atlas.figures import Figure
from fsbench.results.published.conditions import run_conditions
from fsbench.results.rows.row import MEAN
from fsbench.results.rows.scoring import Request, Sums, score_rows
from fsbench.scores.estimate import Estimate

METRICS = ("mIoU", "FB-IoU")
"""Scores of runs that published figures have, too; those follow whose words the atlas has from their protocol."""


def is_in_atlas(record: Record) -> bool:
    """Return whether a run is a segmentation run on a data set for which fsbench lists published scores."""
    return record.header.dataset in ATLAS_NAMES and record.protocol.has_masks


def atlas_metrics(record: Record) -> list[str]:
    """Return the names of a run's scores for which fsbench also lists published scores."""
    own = [metric.name for metric in record.protocol.metrics if metric_word(metric) != NOT_STATED]
    return list(dict.fromkeys((*METRICS, *own)))


def run_entry(
    label: str,
    records: Sequence[Record],
    scores: Mapping[str, Mapping[str, Estimate]],
    programs: Sequence[Program],
    number: int,
) -> Entry:
    """Return a method's own runs on one test in the form of a published entry, to list both in one table.

    Args:
        label: the label of the method.
        records: the method's runs on the test.
        scores: {fold: {metric: score}}, where fold is a number or "mean". The scores of "mean", or of the only fold,
            are those of the whole test.
        programs: the known evaluation programs.
        number: a number that is put into the entry's id, to tell tests of the same label apart.
    """
    first = records[0]
    header, backbone = first.header, first.run.identity.backbone.name
    conditions = run_conditions(first, programs)
    setting = header.setting if header.setting == "original" else header.setting.replace("_", " ")
    source = f"run by {header.rules}, {setting}: {', '.join(record.run.id for record in records)}"
    figures = []
    for fold, estimates in scores.items():
        whole = fold == MEAN or header.folds == 1
        for metric, estimate in estimates.items():
            figure = Figure(
                method=label, backbone=backbone, dataset=conditions[DATASET.key], fold=MEAN if whole else fold,
                way=str(header.way), shot=str(header.shot), setting=setting, metric=metric, value=estimate.value,
                printed=f"{estimate.value:.1f}", source=source,
            )  # fmt: skip
            half = (estimate.high - estimate.low) / 2
            figures.append(Reported(figure, "", 0, repeated=False, note="", half=half if isfinite(half) else None))
    if setting != "original":  # supports or sizes that no published program has
        conditions[IMAGE_LISTS.key] += f", {setting}"
    name = "/".join(("run", slug(label), slug(conditions[DATASET.key]), str(number)))
    return Entry(name, label, backbone, "run", conditions[DATASET.key], None, conditions, tuple(figures), ours=True)


def entries_at_hand(records: Iterable[Record], programs: Sequence[Program]) -> list[Entry]:
    """Return finished runs in the form of published entries, one for each method and test."""
    found = []
    for number, group in enumerate(comparable([record for record in records if is_in_atlas(record)]), start=1):
        for label, members in variants(group).items():
            runs = runs_by_fold(members)
            scores: dict[str, dict[str, Estimate]] = {}
            for row in score_rows({label: runs}, Request(tuple(atlas_metrics(group[0]))), Sums()):
                if isfinite(row.estimate.value) and row.method == label:
                    scores.setdefault(row.fold, {})[row.metric] = row.estimate
            found.append(run_entry(label, all_runs(runs), scores, programs, number))
    return found
