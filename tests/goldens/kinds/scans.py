"""Folds, test and preparation of scans by ADNet and the programs after it (scan-tests.md, all-slices.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import SIDE, fold_scans, scan_of
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.cmr import CODES, SPACING, Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.datamodules.prepare.volumes import as_array, numbered, prepare_mr
from fsbench.protocols.draws.volumes import EverySlice, slice_queries
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.answers import SegmentationAnswer
from tests.fsbench.scores.once import scores_once
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, absolute, relative
from tests.goldens.kinds.volumes import (
    label_volume,
    near_or_none,
    prepared_results,
    raw_scan,
    write_scans,
)

DATASETS: Mapping[str, type[Volumes]] = {"CHAOST2": ChaosT2, "SABS": Sabs, "CMR": Cmr}
Spans = Sequence[tuple[int, int]]
"""First and last place of each fold, the support's included."""


# Folds

OWN_SPANS: Mapping[tuple[str, int], Spans] = {  # of no test of the suite
    ("famnet", 35): ((0, 7), (9, 16), (18, 25), (27, 34), (36, 44)),
    ("famnet", 45): ((0, 7), (9, 16), (18, 25), (27, 34), (36, 44)),
}


def folds(case: Case, scans: Mapping[str, Mapping[str, int]], support_position: Mapping[str, int]) -> Results:
    found: dict[str, Any] = {}
    for program, sizes in scans.items():
        found[program] = {}
        for name, number in sizes.items():
            spans = _spans(program, number)
            own = [_fold(span, spans[-1][1], number, support_position[program]) for span in spans]
            found[program][name] = own
    return {"out": found}


def _spans(program: str, number: int) -> Spans:
    """Return the folds of a program on a data set of so many scans; later programs test few scans of CT."""
    if (program, number) in OWN_SPANS:
        return OWN_SPANS[program, number]
    dataset: type[Volumes] = {35: Cmr, 45: Cmr, 20: ChaosT2, 30: Sabs}[number]
    starts = ChaosT2.starts if program in ("famnet", "robustemd") and number == 30 else dataset.starts
    return tuple(pairwise(starts))


def _fold(span: tuple[int, int], circle: int, number: int, position: int) -> dict[str, Any]:
    """Return members, support, queries and training of a fold, with places in the list of scans."""
    places = [str(place) for place in range(circle)]
    one = fold_scans(places, span, 0, 1, (position,), in_list_order=True)
    members = sorted(int(place) for place in (*one.queries, *one.supports) if int(place) < number)
    there = all(int(place) < number for place in one.supports)
    return {
        "members": members,
        "support": int(one.supports[0]) if there else None,
        "queries": [int(place) for place in one.queries if int(place) < number],
        "training": [place for place in range(number) if place not in members],
    }


# The test


def evaluation(
    case: Case,
    program: str,
    dataset: str,
    salt: str,
    side: int,
    fold: int,
    labels: Sequence[int],
    tau: float,
    scans: Sequence[Mapping[str, Any]],
    n_shot: int = 1,
    ep1: bool = False,
    all_slices: bool = False,
    parts: int = 3,
    supp_idx: int = 2,
    codes: Mapping[str, int] | None = None,
) -> Parts:
    out = case.data["out"]
    if program == "adnet":
        protocol, shot = load_segmentation("adnet_ep1" if ep1 else "adnet"), 1 if ep1 or all_slices else n_shot
        values: dict[str, Any] = {"parts": n_shot} if ep1 else {"shots": "whole scan"} if all_slices else {}
    else:
        protocol, shot = load_segmentation("qnet"), 1
        values = {"parts": parts, "support_scans": (supp_idx,)}
    assert isinstance(protocol.draw, EverySlice)
    protocol = replace(protocol, draw=replace(protocol.draw, **values))
    with TemporaryDirectory() as folder:
        kind = DATASETS[dataset]
        root = Path(folder) / kind.inner[0]
        root.mkdir()
        stored = codes and {int(number): value for number, value in codes.items()}
        write_scans(root, kind, salt, side, scans, stored)
        yield from _evaluated(_with_labels(kind(folder), labels), protocol, fold, shot, tau, out)


def _with_labels(data: Volumes, labels: Sequence[int]) -> Volumes:
    """Let each fold of a data set test these labels, whatever the groups are of which they are."""
    data.groups = (tuple(labels),)  # type: ignore[misc]
    data.folds = len(data.starts) - 1
    return data


def _evaluated(data: Volumes, protocol: Protocol, fold: int, shot: int, tau: float, out: Mapping[str, Any]) -> Parts:
    draw = protocol.draw
    assert isinstance(draw, EverySlice)
    task = Task(fold, shot=shot)
    data = draw.data(data, fold, shot)
    chosen = draw.scans(data, task)
    yield {
        "support": Same(list(chosen.supports), [out["support"]]),
        "queries": Same(list(chosen.queries), out["queries"]),
        "classes": Same(data.test_classes(fold), [int(number) for number in out["classes"]]),
    }
    manifest = protocol.manifest(data, task)
    rows: list[dict[str, Any]] = []
    for name, stored in out["classes"].items():
        number = int(name)
        of_class = [one for one in manifest.episodes if one.classes == (number,)]
        by_scan = {scan: list(own) for scan, own in groupby(of_class, lambda one: scan_of(one.query))}
        for scan in chosen.queries:
            own = by_scan.get(scan, [])
            pixels, unclear = _answered(protocol, data, own, number, tau, rows)
            expected = stored["predicted_pixels"].get(scan, [])
            if len(pixels) == len(expected):  # within what rounding may decide
                triples = zip(pixels, expected, unclear, strict=True)
                pixels = [there if abs(here - there) <= few else here for here, there, few in triples]
            yield {f"pixels of {number} in {scan}": Same(pixels, expected)}
            if "slices_shown" in stored:
                yield {f"slices of {number} in {scan}": Same(len(own), stored["slices_shown"][scan])}
        supports = [name for part in draw.supports(data, task, number) for name in part]
        voxels = [int((data.label_map(name) == number).sum()) for name in supports]
        yield {f"support of {number}": Same(voxels, stored["support_voxels"])}
        if "support_slices_used" in stored:
            yield {f"support slices of {number}": Same(len(supports), stored["support_slices_used"])}
        if "calls" in stored:
            yield {f"calls of {number}": Same(_passes(draw, data, chosen.queries, number), stored["calls"])}
    frame = pl.DataFrame(rows, schema_overrides={"rom": pl.Float64, "rum": pl.Float64})
    for name, stored in out["classes"].items():
        yield from _class_scores(protocol, manifest, frame, int(name), chosen.queries, stored)
    if "whole" in out and not _lacks_a_scan(frame, out["classes"], chosen.queries):
        yield near_or_none("whole", np.asarray(_dice(protocol, manifest, frame)), out["whole"])


def _lacks_a_scan(frame: pl.DataFrame, classes: Iterable[str], scans: Sequence[str]) -> bool:
    """Return whether a query scan has no query about a class; the suite's mean is then over the other scans.

    Programs have 0 / 0 there, so that their mean is no number (scan-tests.md §4.4); docs/guides/protocols.md says so.
    """
    asked = set(frame.select("asked", "scan").unique().iter_rows())
    return any((int(number), scan) not in asked for number in classes for scan in scans)


def _dice(protocol: Protocol, manifest: Manifest, frame: pl.DataFrame) -> float:
    """Return the suite's Dice of rows of counts, from 0 to 1; NaN where it states none, as for 0 / 0."""
    found = scores_once([protocol.statistics(frame.drop("scan", "asked"), manifest.header)])
    return found["Dice"].value / 100 if "Dice" in found else nan


def _class_scores(
    protocol: Protocol,
    manifest: Manifest,
    frame: pl.DataFrame,
    number: int,
    scans: Sequence[str],
    stored: Mapping[str, Any],
) -> Parts:
    """Yield the suite's Dice of a class in each scan and its mean, and IoU by scan from the suite's counts."""
    own = frame.filter(pl.col("asked") == number)
    scores: dict[str, list[float]] = {"dice": [], "iou": []}
    for scan in scans:
        of_scan = own.filter(pl.col("scan") == scan)
        counts = of_scan.filter(pl.col("slot") == 1)
        hits, predicted, true = (int(counts[key].sum()) for key in ("tp", "pred", "gt"))
        either = predicted + true - hits
        scores["dice"].append(_dice(protocol, manifest, of_scan) if either else nan)
        scores["iou"].append(hits / either if either else nan)
    for key, values in scores.items():
        if key in stored:
            yield near_or_none(f"{key} of {number}", np.array(values), [stored[key].get(scan) for scan in scans])
    if _lacks_a_scan(frame, [str(number)], scans):
        yield {
            f"means of {number}, without a number": Same([stored.get("mean_dice"), stored.get("mean_iou")], [None] * 2)
        }
        return
    means = {"mean_dice": _dice(protocol, manifest, own), "mean_iou": float(np.mean(scores["iou"]))}
    for key, value in means.items():
        if key in stored:
            yield near_or_none(f"{key} of {number}", np.asarray(value), stored[key])


def _passes(draw: EverySlice, data: Volumes, scans: Sequence[str], number: int) -> list[int]:
    """Return the number of slices of each pass through the authors' network: a part of a scan, empty ones too."""
    found = []
    for scan in scans:
        length, shown = len(data.slices(scan)), data.class_slices[number].get(scan, ())
        queries = slice_queries(scan, length, shown, draw.parts, draw.margin, draw.counted, draw.parts_by)
        parts = [one.part for one in queries if one.counts]
        found += [parts.count(part) for part in range(draw.parts)]
    return found


def _answered(
    protocol: Protocol,
    data: Volumes,
    episodes: Sequence[Episode],
    number: int,
    tau: float,
    rows: list[dict[str, Any]],
) -> tuple[list[int], list[int]]:
    """Return by episode the pixels that the stub finds, and how many are near its threshold; add counts to `rows`."""
    pixels, unclear = [], []
    for one in episodes:
        seen = [data.intensities(name).astype(np.float64)[data.label_map(name) == number] for name in one.supports[0]]
        distance = np.abs(data.intensities(one.query).astype(np.float64) - float(np.concatenate(seen).mean()))
        pixels.append(int((distance < tau).sum()))
        unclear.append(int((np.abs(distance - tau) < 1e-4).sum()))
        truth = protocol.view.episode_truth(data, one, SIDE)
        counts = protocol.count(SegmentationAnswer((distance < tau).astype(np.uint8)), truth).rows()
        rows += [row | {"query": one.query, "scan": scan_of(one.query), "asked": number} for row in counts]
    return pixels, unclear


# Preparation


def preparation(
    case: Case,
    modality: str,
    mean: float,
    amp: float,
    fine: float,
    store: int,
    shape: Sequence[int],
    spacing: Sequence[float],
    salt: str,
    organs: Sequence[Mapping[str, Any]],
) -> Results:
    assert modality == "CMR"
    labels = numbered(label_volume(shape, organs), CODES)
    image, prepared = map(as_array, prepare_mr(*raw_scan(mean, amp, fine, shape, spacing, salt, labels), SPACING))
    return prepared_results(image, prepared, store, classes=3)


KINDS = {
    "scans_folds": Kind(folds),
    "scans_evaluation": Kind(evaluation, {"": absolute(1e-4)}),
    "scans_prepare": Kind(preparation, {"out.image": relative(1e-6)}),
}
