"""Folds, test and preparation of scans by ADNet and the programs after it (scan-tests.md, all-slices.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import fold_scans, scan_of
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.cmr import CODES, SPACING, Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.datamodules.prepare.volumes import as_array, numbered, prepare_mr
from fsbench.protocols.draws.volumes import EverySlice, chunks
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.volumes import Dice
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, absolute, relative
from tests.goldens.kinds.volumes import (
    label_volume,
    near_or_none,
    prepared_results,
    raw_scan,
    voxels_of,
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
    episodes = protocol.manifest(data, task).episodes
    means = []
    for name, stored in out["classes"].items():
        number = int(name)
        of_class = [one for one in episodes if one.classes == (number,)]
        by_scan = {scan: list(own) for scan, own in groupby(of_class, lambda one: scan_of(one.query))}
        voxels = np.zeros((1, len(chosen.queries), 4), dtype=np.int64)
        for place, scan in enumerate(chosen.queries):
            own = by_scan.get(scan, [])
            pixels, unclear = _answered(data, own, number, tau, voxels[0, place])
            expected = stored["predicted_pixels"].get(scan, [])
            near = len(pixels) == len(expected) and all(
                abs(a - b) <= u for a, b, u in zip(pixels, expected, unclear, strict=True)
            )
            yield {f"pixels of {number} in {scan}": Same(near, True)}
            if "slices_shown" in stored:
                yield {f"slices of {number} in {scan}": Same(len(own), stored["slices_shown"][scan])}
        supports = [name for part in draw.supports(data, task, number) for name in part]
        yield {
            f"support of {number}": Same(
                [int((data.label_map(name) == number).sum()) for name in supports], stored["support_voxels"]
            ),
            f"support slices of {number}": Same(len(supports), stored.get("support_slices_used", len(supports))),
        }
        if "calls" in stored:
            yield {f"calls of {number}": Same(_passes(draw, chosen.queries, by_scan), stored["calls"])}
        shares = Dice().shares(voxels)[0]
        whole = voxels[0, :, 1] + voxels[0, :, 2] - voxels[0, :, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = voxels[0, :, 0] / whole
        found = {"dice": shares, "iou": iou, "mean_dice": shares.mean(), "mean_iou": iou.mean()}
        means.append(found["mean_dice"])
        for key, value in found.items():
            if key in stored:
                expected = [stored[key].get(scan) for scan in chosen.queries] if key in ("dice", "iou") else stored[key]
                yield near_or_none(f"{key} of {number}", np.asarray(value), expected)
    if "whole" in out:
        yield near_or_none("whole", np.mean(means), out["whole"])


def _passes(draw: EverySlice, scans: Sequence[str], by_scan: Mapping[str, Sequence[Episode]]) -> list[int]:
    """Return the number of slices of each pass through the authors' network: a part of a scan, empty ones too."""
    asked = [len(by_scan.get(scan, ())) for scan in scans]
    return [chunks(number, draw.parts).count(part) for number in asked for part in range(draw.parts)]


def _answered(
    data: Volumes, episodes: Sequence[Episode], number: int, tau: float, voxels: np.ndarray
) -> tuple[list[int], list[int]]:
    """Return by episode the pixels that the stub finds, and how many are near its threshold; add to `voxels`."""
    pixels, unclear = [], []
    for one in episodes:
        seen = [data.intensities(name).astype(np.float64)[data.label_map(name) == number] for name in one.supports[0]]
        distance = np.abs(data.intensities(one.query).astype(np.float64) - float(np.concatenate(seen).mean()))
        pixels.append(int((distance < tau).sum()))
        unclear.append(int((np.abs(distance - tau) < 1e-4).sum()))
        voxels += voxels_of(distance < tau, data.label_map(one.query) == number)
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
