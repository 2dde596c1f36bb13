"""Runs at hand as entries of the atlas, so that they stand among the published figures and tell how far these move."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.protocols.conditions import ATLAS_NAMES, DATASET, EPISODES, IMAGE_LISTS, NOT_STATED, metric_word
from fsbench.protocols.kit.kit import FILE as KIT
from fsbench.protocols.kit.kit import read_kit
from fsbench.protocols.programs import Program, slug
from fsbench.protocols.reading import is_protocol_file, load_protocol, protocol_names, read_protocol, stored_protocol
from fsbench.records.grouping import all_runs, comparable, runs_by_fold, variants
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.record import Record, find_records
from fsbench.results.atlas.atlas import TOLD, Atlas, Entry, Reported
from fsbench.results.atlas.figures import Figure
from fsbench.results.atlas.pairs import SAME
from fsbench.results.atlas.which import Nearest, nearest_tests, words_of
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


def nearest_to(what: Path, atlas: Atlas) -> list[Nearest]:
    """Find the published tests that are nearest to runs, a kit, or a protocol by its file or name.

    Raises:
        SettingsError: it is none of these, or it has no masks or a data set that the atlas lacks.
        RecordError: a run or the kit is damaged.
    """
    if is_protocol_file(what) or str(what) in protocol_names():
        protocol = read_protocol(what) if is_protocol_file(what) else load_protocol(str(what))
        if not protocol.has_masks:
            raise SettingsError(f"{what} is a protocol of {protocol.task}; the atlas has tests of segmentation alone")
        own = words_of(protocol)
        datasets = tuple(dict.fromkeys(words[DATASET.key] for words in own))
        return [Nearest(str(what), datasets, nearest_tests(own, atlas, protocol.name))]
    if (what / KIT).is_file():
        kit = read_kit(what)
        words = stored_protocol(kit.protocol_parts or kit.protocol).conditions(kit.dataset)
        if not kit.lists.startswith("official"):
            words[IMAGE_LISTS.key] = kit.lists
        if kit.episodes is not None:
            words[EPISODES.key] = str(kit.episodes)
        words[DATASET.key] = ATLAS_NAMES.get(kit.dataset, kit.dataset)
        return [_nearest(str(what), words, atlas, kit.protocol, (str(kit.way), str(kit.shot)))]
    records = find_records(what)
    if not records:
        raise SettingsError(f"{what} has no finished run; expected a run, a kit, or a protocol or its .yaml file")
    return near_runs(records, atlas)


def stands_alone(records: Sequence[Record]) -> bool:
    """Return whether the runs of each test are of one method."""
    return all(len(variants(group)) == 1 for group in comparable(records))


def near_runs(records: Sequence[Record], atlas: Atlas) -> list[Nearest]:
    """Find the published tests that are nearest to each test of the runs.

    Raises:
        SettingsError: a run has no masks, or a data set that the atlas lacks.
    """
    found: dict[tuple[str, ...], Nearest] = {}
    for record in records:
        header, name = record.header, record.path.name
        if not record.protocol.has_masks:
            raise SettingsError(f"{name} is a run of {record.protocol.task}; expected one of segmentation")
        words, size = run_conditions(record, atlas.programs), (str(header.way), str(header.shot))
        stored = str(record.path) if (record.path / PREDICTIONS).is_file() else ""
        alike = (*size, *(words[key] for key in (*SAME, *TOLD)))
        found.setdefault(alike, _nearest(name, words, atlas, header.protocol, size, stored))
    return list(found.values())


def _nearest(
    title: str, words: Mapping[str, str], atlas: Atlas, protocol: str, size: tuple[str, str], stored: str = ""
) -> Nearest:
    dataset, known = words[DATASET.key], list(dict.fromkeys(program.dataset for program in atlas.programs))
    if dataset not in known:
        raise SettingsError(f"{title} is of {dataset}; expected a data set of the atlas: {', '.join(known)}")
    return Nearest(title, (dataset,), nearest_tests([words], atlas, protocol), size, stored)
