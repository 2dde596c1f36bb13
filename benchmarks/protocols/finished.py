"""Tables of what the protocol alone moves in finished runs, from their counts and stored predictions."""

import json
import platform
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.protocols.names import labelled_groups, labels
from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import write_text
from fsbench.networks.weights.table import backbone_data
from fsbench.protocols.segmentation import Segmentation, segmentation_of
from fsbench.records.card import Cards
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record, find_records
from fsbench.results.tables.formats import markdown_row
from fsbench.results.tables.layout import ends, moved
from fsbench.results.tables.rescoring.recount import ORIGINAL, own_resolution, recount
from fsbench.runner.engine.stored_data import Truths
from fsbench.scores.estimate import Estimate, estimates, gains
from fsbench.scores.run_statistics import pair_statistics
from fsbench.scores.statistics import ScoreStatistics

NUMBERS = (100, 200, 1000, 4000, 5000, 10_000)
"""Numbers of episodes that papers use, and smaller ones."""
SIDES = (518, 1024, ORIGINAL)
"""Sides in pixels at which stored predictions are counted, and the query's own size."""
SMALLEST = {"all": 0, "1000 px and more": 1000, "2·32² px and more": 2 * 32**2}
"""Objects that a rule keeps -> pixels of the smallest at the query's original size."""

Table = tuple[list[str], list[list[str]]]
"""Columns and rows."""


def write_tables(
    folders: Sequence[Path],
    origin: str,
    target: Path | None,
    long: Path | None = None,
    only: Sequence[str] = (),
    prefix: str = "",
) -> str:
    """Return the tables of finished runs in Markdown, and write them to `target` as the pages of the manual take them.

    Below the tables stand the runs that the one of resolutions leaves out, with the reason.

    Args:
        folders: with finished runs.
        origin: how they were made, in words.
        target: a JSON file; None writes nothing.
        long: folder of a run of many episodes, in whose number alone it is shown; None takes the longest of all.
        only: names of the tables; all unless given.
        prefix: begins the tables' names in `target`, such as "photos-", so that a page can have tables of both.

    Raises:
        SettingsError: there is no run of segmentation.
    """
    records, longest = _records(folders), _records([long] if long else folders)
    made = {
        prefix + name: table(longest if name == "episodes" else records)
        for name, table in TABLES.items()
        if not only or name in only
    }
    tables = {name: (columns, rows) for name, (columns, rows) in made.items() if rows}
    if target is not None:
        content = {
            "origin": origin,
            "date": date.today().isoformat(),
            "machine": f"{platform.machine()}, {platform.system()}",
            "tables": {name: {"columns": columns, "rows": rows} for name, (columns, rows) in tables.items()},
        }
        write_text(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    lines = []
    for name, (columns, rows) in tables.items():
        lines += [f"## {name}", "", *map(markdown_row, [columns, ["---"] * len(columns), *rows]), ""]
    return "\n".join([*lines, *left_out_of_resolution(records)])


def _records(folders: Sequence[Path]) -> list[Record]:
    """Return the runs of segmentation in folders. Raises SettingsError where there is none."""
    found = {record.path.resolve(): record for folder in folders for record in find_records(folder)}
    records = [record for record in found.values() if record.protocol.has_masks]
    if not records:
        raise SettingsError(f"no finished runs of segmentation in {', '.join(map(str, folders))}; run make bench first")
    return records


def methods_table(records: Sequence[Record]) -> Table:
    """Set methods side by side under each protocol, with what they saw and the time of an episode.

    A row is of one method, told from its variants as in other tables, of one data set and task, and of the folds that
    all of its protocols have, over which figures are means; protocols without a fold in common have rows of their own.
    A protocol under which a method was not tested has dashes.
    """
    cards = Cards(backbone_data())
    # others are in `training_table`
    strict = [record for record in records if cards.run_card(record).novel_pixels != "labelled"]
    rows: dict[tuple[str, ...], dict[str, dict[int, Record]]] = {}
    for group, labelled in labelled_groups(strict):
        header = group[0].header
        protocol, episodes = header.protocol, f"{header.requested:,}"
        for label, members in labelled.items():
            seen = sorted({_seen(cards, record) for record in members})
            row = (label, header.dataset, _task(members[0]), episodes, *map(" / ".join, zip(*seen, strict=True)))
            again = 0
            while protocol in rows.setdefault((*row, str(again)), {}):  # the same test with other episodes
                again += 1
            rows[*row, str(again)][protocol] = {fold_of(record): record for record in members}
    every = list(dict.fromkeys(record.header.protocol for record in strict))
    fb_iou = {record.header.protocol: segmentation_of(record.header).fb_iou for record in strict}
    scores = [f"{protocol}: {what}" for protocol in every for what in ("mIoU", fb_iou[protocol], "s an episode")]
    columns = ["method", "test", *scores, "its backbone saw", "it was trained on"]
    lines = []
    for (label, dataset, task, episodes, *seen_words, _), of_protocol in rows.items():
        for tested, folds in _with_common_folds(of_protocol):
            of_all = next(iter(tested.values()))[folds[0]].header.folds
            number = f"{len(folds)} of {of_all} folds ({', '.join(map(str, folds))})"
            cells = [label, f"{dataset}, {number}, {task}, {episodes} episodes a fold"]
            for protocol in every:
                cells += _scores_and_time([tested[protocol][fold] for fold in folds] if protocol in tested else [])
            lines.append([*cells, *seen_words])
    return columns, lines


def _with_common_folds(
    of_protocol: dict[str, dict[int, Record]],
) -> list[tuple[dict[str, dict[int, Record]], list[int]]]:
    """Return protocols -> folds -> runs with the folds that all have; each protocol by itself where there is none."""
    folds = sorted(set.intersection(*map(set, of_protocol.values())))
    if folds:
        return [(of_protocol, folds)]
    return [({protocol: of_fold}, sorted(of_fold)) for protocol, of_fold in of_protocol.items()]


def _seen(cards: Cards, record: Record) -> tuple[str, str]:
    """Return what a run's backbone and method were trained on, in the words of all folds."""
    card, own = cards.run_card(record), f"{record.header.dataset} fold {fold_of(record)}"
    return card.backbone_data, card.trained_on.replace(own, "the same fold")


def _task(record: Record) -> str:
    """Return ways and shots of a test, and its setting where it is not the original one."""
    setting = record.header.setting.replace("_", " ")
    words = f"{record.header.way}-way {record.header.shot}-shot"
    return words if setting == "original" else f"{words} {setting}"


def _test(record: Record) -> str:
    """Return data set, fold and task of a run."""
    return f"{record.header.dataset} fold {fold_of(record)}, {_task(record)}"


def _scores_and_time(folds: Sequence[Record]) -> list[str]:
    """Return mIoU, the protocol's FB-IoU and seconds an episode as means over folds; dashes without any."""
    if not folds:
        return ["–"] * 3
    scores = estimates([_whole(record, record.episodes) for record in folds])
    speeds = [record.run.cost.episodes_per_second for record in folds]
    known = [1 / speed for speed in speeds if speed]
    time = f"{np.mean(known):.2f}" if len(known) == len(folds) else "–"
    return [_figure(scores["mIoU"]), f"{scores[segmentation_of(folds[0].header).fb_iou].value:.1f}", time]


def _episodes(record: Record) -> int:
    return record.header.episodes or 0


def episodes_table(records: Sequence[Record]) -> Table:
    """Give the interval of the first episodes of the longest run; those are what a shorter run has."""
    columns = ["method", "test", "protocol", "episodes", "query images", "mIoU", "width of its interval"]
    record = max(records, key=_episodes)
    name, rows = labels(records)[record.run.id], []
    for number in NUMBERS:
        if number > _episodes(record):
            break
        first = record.episodes.filter(pl.col("episode") < number)
        score = estimates([_whole(record, first)])["mIoU"]
        cells = [name, *_where(record), f"{number:,}"]
        cells.append(f"{first['query'].n_unique():,}")
        rows.append([*cells, _figure(score), f"{score.high - score.low:.2f}" if score.has_interval else "–"])
    return columns, rows


def resolution_table(records: Sequence[Record]) -> Table:
    """Count the same predictions at several resolutions; each figure with its difference to the run's own.

    Runs that `lacks_detail` gives a reason for are left out.
    """
    columns = ["method", "test", "protocol", "mIoU", *(f"at {_side_in_words(side)}" for side in SIDES)]
    names, rows = labels(records), []
    for record in records:
        if lacks_detail(record):
            continue
        truth, own = Truths(record), _whole(record, record.episodes)
        cells = [f"{estimates([own])['mIoU'].value:.1f} at {_side_in_words(own_resolution(record))}"]
        for side in SIDES:
            other = _whole(record, recount(record, truth, side))
            cells.append(f"{estimates([other])['mIoU'].value:.1f} ({_signed(gains([own], [other])['mIoU'])})")
        rows.append([names[record.run.id], *_where(record), *cells])
    return columns, rows


def lacks_detail(record: Record) -> str:
    """Return why a run's predictions cannot be counted at the largest of the sides; "" where they can."""
    if record.run.predictions is None:
        return "the run kept no predictions; make it again with FORCE=1"
    try:
        side = own_resolution(record)
    except RecordError as error:
        return str(error)
    if side >= max(SIDES):
        return ""
    return f"its predictions are stored at {_side_in_words(side)}, expected {_side_in_words(max(SIDES))} or more"


def left_out_of_resolution(records: Sequence[Record]) -> list[str]:
    """Return in Markdown a line for each reason why runs are not in the table of resolutions, with the runs."""
    names = labels(records)
    of_reason: dict[str, list[str]] = {}
    for record in records:
        if reason := lacks_detail(record):
            of_reason.setdefault(reason, []).append(f"{names[record.run.id]} ({', '.join(_where(record))})")
    return [f"- left out of resolution: {'; '.join(runs)}: {reason}" for reason, runs in sorted(of_reason.items())]


def objects_table(records: Sequence[Record]) -> Table:
    """Leave out queries whose object is small at the query's original size."""
    columns = ["method", "test", "protocol", *(f"mIoU, {name} (episodes)" for name in SMALLEST)]
    names, rows = labels(records), []
    for record in records:
        pixels = object_pixels(record, Truths(record))
        cells = []
        for least in SMALLEST.values():
            keep = pixels >= max(least, 1)
            if not keep.any():
                cells.append("– (0)")
                continue
            score = estimates([_pairs(record, keep)])["mIoU"]
            cells.append(f"{_figure(score)} ({int(keep.sum())})")
        rows.append([names[record.run.id], *_where(record), *cells])
    return columns, sorted(rows)


def object_pixels(record: Record, truth: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return the pixels of each row's way at the query's original size; 0 for rows of the background and where a query
    does not show the way."""
    last, label_map = -1, np.zeros((0, 0), np.uint8)
    sums = []
    for episode, slot in record.episodes.select("episode", "slot").iter_rows():
        if episode != last:
            last, label_map = episode, truth(episode)
        sums.append(int((label_map == slot).sum()) if slot else 0)
    return np.array(sums)


def void_table(records: Sequence[Record]) -> Table:
    """Count the same predictions with void pixels left out and as background; data without any have no row."""
    columns = ["method", "test", "protocol", "void left out", "void is background", "difference"]
    names, rows = labels(records), []
    for record in records:
        protocol = record.protocol
        if not isinstance(protocol, Segmentation) or not record.episodes["void"].sum():
            continue
        ignored, background = (
            protocol.statistics_with_void(record.episodes, record.header, rule) for rule in ("ignore", "background")
        )
        figures = [_figure(estimates([one])["mIoU"]) for one in (ignored, background)]
        change = _signed(gains([ignored], [background])["mIoU"])
        rows.append([names[record.run.id], *_where(record), *figures, change])
    return columns, rows


def training_table(records: Sequence[Record]) -> Table:
    """Set runs of methods that saw the test's classes in training beside those that did not, on equal episodes.

    A run stands beside each one of the same method, backbone, settings, image size and precision; alone where there is
    none.
    """
    cards, names = Cards(), labels(records)
    strict: dict[str, list[Record]] = {}
    in_domain: dict[str, list[Record]] = {}
    for record in records:
        of_training = in_domain if cards.run_card(record).novel_pixels == "labelled" else strict
        of_training.setdefault(_apart_from_training(record), []).append(record)
    columns = ["method", "test", "protocol", "strict: without the test's classes", "in domain: with them", "difference"]
    rows = []
    for key, record in ((key, record) for key, alike in in_domain.items() for record in alike):
        seen, own = _whole(record, record.episodes), names[record.run.id]
        figure = _figure(estimates([seen])["mIoU"])
        for partner in strict.get(key, []):
            without, name = _whole(partner, partner.episodes), names[partner.run.id]
            name += f"; {own}" if len(in_domain[key]) > 1 else ""
            change = _signed(gains([without], [seen])["mIoU"])
            rows.append([name, *_where(record), _figure(estimates([without])["mIoU"]), figure, change])
        if key not in strict:
            rows.append([own, *_where(record), "–", figure, "–"])
    return columns, sorted(rows)


def _apart_from_training(record: Record) -> str:
    """Return in canonical JSON the episodes of a run and all that can change its result but its training."""
    of_training = ("training", "seed", "fold", "files_sha256")
    settings = {key: value for key, value in record.run.identity.as_json().items() if key not in of_training}
    return json.dumps([record.manifest_sha256, settings], sort_keys=True)


def precision_table(records: Sequence[Record]) -> Table:
    """Set runs whose frozen network computes in a narrower type beside the same runs in fp32, on equal episodes.

    A run without such a partner has no row.
    """
    wide = {_apart_from_precision(record): record for record in records if _precision(record) == "fp32"}
    names = labels(list(wide.values()))
    columns = ["method", "test", "protocol", "in fp32", "precision", "mIoU", "difference"]
    rows = []
    for record in records:
        partner = wide.get(_apart_from_precision(record))
        if _precision(record) == "fp32" or partner is None:
            continue
        ours, theirs = (_whole(one, one.episodes) for one in (record, partner))
        before, after = (f"{estimates([one])['mIoU'].value:.2f}" for one in (theirs, ours))
        change = _signed(gains([theirs], [ours])["mIoU"], digits=2)
        rows.append([names[partner.run.id], *_where(record), before, _precision(record), after, change])
    return columns, sorted(rows)


def _precision(record: Record) -> str:
    return record.run.identity.backbone.backbone_precision


def _apart_from_precision(record: Record) -> str:
    """Return in canonical JSON all that can change a run's result but the precision of its frozen network."""
    identity = record.run.identity.as_json()
    identity["backbone"] = {key: value for key, value in identity["backbone"].items() if key != "backbone_precision"}
    identity["training"] = {**(identity["training"] or {}), "backbone_precision": None}
    return json.dumps(identity, sort_keys=True)


def _where(record: Record) -> tuple[str, str]:
    """Return the test and the protocol of a run."""
    return _test(record), record.header.protocol


TABLES: dict[str, Callable[[Sequence[Record]], Table]] = {
    "methods": methods_table,
    "episodes": episodes_table,
    "resolution": resolution_table,
    "objects": objects_table,
    "void": void_table,
    "training": training_table,
    "precision": precision_table,
}
"""Name of a table -> how it is made."""


def _whole(record: Record, frame: pl.DataFrame) -> ScoreStatistics:
    return record.protocol.statistics(frame, record.header)


def _pairs(record: Record, keep: np.ndarray) -> ScoreStatistics:
    classes = sorted(set(record.episodes["class_id"].to_numpy()[keep].tolist()))
    return pair_statistics(record.episodes, keep, classes, segmentation_of(record.header).void)


def _side_in_words(side: int) -> str:
    return f"{side} x {side}" if side else "the query's size"


def _figure(score: Estimate) -> str:
    return f"{score.value:.1f} {ends(score, 1)}".rstrip()


def _signed(difference: Estimate, digits: int = 1) -> str:
    return moved(difference, digits)
