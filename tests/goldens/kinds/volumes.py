"""Folds, test, scores and preparation of abdominal scans (alpnet.md §1 to §3, §6.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from fsbench.data.episodes.task import Task
from fsbench.data.volume_io import write_image
from fsbench.data.volumes import fold_scans, slice_name
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.kinds.volumes import CLASS_SLICES, Volumes
from fsbench.datamodules.prepare.volumes import (
    as_array,
    class_slices_text,
    patient_mask,
    prepare_ct,
    prepare_mr,
    renumbered,
    slices_with,
)
from fsbench.protocols.draws.volumes import EverySlice, slice_queries, support_slices
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.volumes import Dice, VolumePrecision, VolumeRecall, VolumeScore
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Near, Parts, Result, Results, Same, Tolerance, absolute, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import statistics

DATASETS: Mapping[str, type[Volumes]] = {"CHAOST2": ChaosT2, "SABS": Sabs}


# Folds


def folds(case: Case, chaost2_pids: Sequence[int], sabs_pids: Sequence[int], nsup: int) -> Results:
    found: dict[str, Any] = {}
    for name, ids in (("CHAOST2", chaost2_pids), ("SABS", sabs_pids)):
        scans = [str(one) for one in sorted(ids)]
        own = [fold_scans(scans, DATASETS[name].starts, fold, nsup) for fold in range(5)]
        found[name] = [
            {"val": [*one.queries, *one.supports], "last": list(one.supports), "train": list(one.training)}
            for one in own
        ]
    return {"out": found}


# Scores


def dice(case: Case, n_scans: int, labels: Sequence[int], records: Sequence[Mapping[str, Any]]) -> Results:
    names = sorted({record["scan"] for record in records}) if n_scans == 1 else list(range(n_scans))
    voxels = np.zeros((len(labels), n_scans, 4), dtype=np.int64)
    for record in records:
        predicted, true = (_digits(record[name]) for name in ("pred", "target"))
        place = labels.index(record["label"]), 0 if n_scans == 1 else names.index(record["scan"])
        voxels[place] += voxels_of(predicted, true)
    return _scores(voxels, case.data["out"], "_")


def _digits(rows: Sequence[str]) -> np.ndarray:
    return np.array([[255 if digit == "x" else int(digit) for digit in row] for row in rows])


def voxels_of(predicted: np.ndarray, true: np.ndarray) -> list[int]:
    known = true != 255
    own, truth = (predicted == 1) & known, true == 1
    return [int((own & truth).sum()), int(own.sum()), int(truth.sum()), 1]


def _scores(voxels: np.ndarray, out: Mapping[str, Any], joint: str) -> Results:
    """Return the scores of voxels (C, V, 4) under the names of a case, its words joined by "_" or by a capital."""
    found: dict[str, Any] = {}
    metrics: tuple[tuple[str, VolumeScore], ...] = (
        ("dice", Dice()), ("prec", VolumePrecision()), ("rec", VolumeRecall()),
    )  # fmt: skip
    every = np.ones_like(voxels[..., :1])  # a scan without any record is 0 / 0 to the program, too
    for word, metric in metrics:
        shares = metric.shares(voxels)
        values = {
            "class": shares.mean(1),
            "class std": shares.std(1),
            "mean": metric.compute({"voxels": np.concatenate([voxels[..., :3], every], -1)[None]}, None)[0] / 100,
            "mean std": shares.mean(0).std(),
            "raw": shares.T,
        }
        for name, value in values.items():
            kind, _, std = name.partition(" ")
            key = "_".join(filter(None, (kind, word, std))) if joint == "_" else f"{kind}{word.capitalize()}{std}"
            if key in out:
                found |= near_or_none(key, np.asarray(value), out[key])
    return found


def near_or_none(key: str, value: np.ndarray, expected: Any) -> Results:
    """Hold a number or numbers to the stored ones, and NaN to null."""
    stored = np.array(expected, dtype=float)  # null becomes NaN
    found, wanted = (np.nan_to_num(one, nan=-1.0).tolist() for one in (value, stored))
    return {key: Near(found, wanted)}


# The test


def evaluation(
    case: Case,
    dataset: str,
    salt: str,
    side: int,
    label_sets: int,
    fold: int,
    shots: int,
    npart: int,
    support_idx: Sequence[int],
    z_margin: int,
    tau: float,
    scans: Sequence[Mapping[str, Any]],
) -> Parts:
    out = case.data["out"]
    with TemporaryDirectory() as folder:
        write_scans(Path(folder), DATASETS[dataset], salt, side, scans)
        protocol = load_segmentation("alpnet")
        assert isinstance(protocol.draw, EverySlice)
        draw = replace(protocol.draw, parts=npart, margin=z_margin, support_scans=tuple(support_idx))
        task = Task(fold=5 * label_sets + fold, shot=shots)
        data = draw.data(DATASETS[dataset](folder), task.fold, task.shot)
        places = fold_scans(data.scans, DATASETS[dataset].starts, fold, shots)
        chosen = draw.scans(data, task)
        yield {
            "scans": Same([*places.queries, *places.supports], out["scans"]),
            "labels": Same(data.test_classes(task.fold), out["labels"]),
            "train_scans": Same(list(chosen.training), out.get("train_scans", list(chosen.training))),
        }
        first = data.intensities(slice_name(chosen.queries[0], 0))
        own = statistics(torch.from_numpy(first), "slice")
        yield {
            "first_slice_stats": Near(
                (own / own[0]).tolist(), (torch.tensor(out["first_slice_stats"]) / own[0]).tolist()
            )
        }
        voxels = np.zeros((len(out["labels"]), len(chosen.queries), 4), dtype=np.int64)
        drawn = iter(protocol.__class__(**{**vars(protocol), "draw": draw}).manifest(data, task).episodes)
        for place, number in enumerate(data.test_classes(task.fold)):
            stored, listed = out["classes"][str(number)], data.class_slices[number]
            middles = [support_slices(listed[scan], npart) for scan in chosen.supports]
            supports = [
                [[s, own[part]] for s, own in zip(chosen.supports, middles, strict=True)] for part in range(npart)
            ]
            queries = [
                one
                for scan in chosen.queries
                for one in slice_queries(scan, len(data.slices(scan)), listed[scan], npart, z_margin)
            ]
            yield {
                f"support of {number}": Same(supports, stored["support"]),
                f"items of {number}": Same([[q.scan, q.z, q.part, int(q.counts)] for q in queries], stored["items"]),
            }
            levels = [level(data, number, part) for part in supports]
            pixels: dict[str, list[int]] = {scan: [] for scan in chosen.queries}
            unclear: dict[str, list[int]] = {scan: [] for scan in chosen.queries}
            for query in queries:
                name = slice_name(query.scan, query.z)
                distance = np.abs(data.intensities(name).astype(np.float64) - levels[query.part])
                pixels[query.scan].append(int((distance < tau).sum()))
                unclear[query.scan].append(int((np.abs(distance - tau) < 1e-4).sum()))
                if query.counts:
                    episode = next(drawn)
                    yield {
                        f"episode {episode.number}": Same(
                            (episode.query, episode.classes, episode.supports),
                            (name, (number,), (tuple(slice_name(*one) for one in supports[query.part]),)),
                        )
                    }
                    true = data.label_map(name) == number
                    voxels[place, chosen.queries.index(query.scan)] += voxels_of(distance < tau, true)
            for scan, found in pixels.items():
                expected = stored["predicted_pixels_by_slice"][scan]
                near = [abs(a - b) <= u for a, b, u in zip(found, expected, unclear[scan], strict=True)]
                yield {f"pixels of {number} in {scan}": Same(near, [True] * len(expected))}
        yield {"episodes": Same(next(drawn, None), None)}
        yield _scores(voxels, out, "")


def level(data: Volumes, number: int, supports: Sequence[Sequence[Any]]) -> float:
    """Return the mean of the support slices over their masks, all shots together."""
    names = [slice_name(*one) for one in supports]
    values = [data.intensities(name).astype(np.float64)[data.label_map(name) == number] for name in names]
    return float(np.concatenate(values).mean())


def write_scans(
    folder: Path,
    dataset: type[Volumes],
    salt: str,
    side: int,
    scans: Sequence[Mapping[str, Any]],
    codes: Mapping[int, int] | None = None,
) -> None:
    """Write the volumes of a case as the data set has them prepared, without a list of slices if labels are codes."""
    shown: dict[str, dict[str, list[int]]] = {name: {} for name in dataset.class_names}
    for scan in scans:
        name, depth = str(scan["pid"]), scan["Z"]
        labels = label_volume((depth, side, side), scan["organs"])
        rough = hashed(name, (depth, -(-side // 8), -(-side // 8)), salt).numpy()
        image = np.rint(200 + 60 * enlarged(rough, side, side) + 30 * labels.astype(np.float64)).astype(np.int16)
        stored = labels if codes is None else np.array([0, *codes.values()])[labels].astype(np.float64)
        for kind, values in (("image", image), ("label", stored)):
            write_image(sitk.GetImageFromArray(values), folder / f"{kind}_{name}.nii.gz")
        for number, word in enumerate(dataset.class_names, 1):
            shown[word][name] = slices_with(labels, number)
    if codes is None:
        (folder / CLASS_SLICES).write_text(class_slices_text(shown))


def enlarged(rough: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return each value of (..., ceil(H / 8), ceil(W / 8)) in a block of 8 x 8, cut to (..., H, W)."""
    return rough.repeat(8, -2).repeat(8, -1)[..., :height, :width]


def _ellipse(height: int, width: int, cy: int, cx: int, ry: int, rx: int) -> np.ndarray:
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    return (y - cy) ** 2 * rx**2 + (x - cx) ** 2 * ry**2 < ry**2 * rx**2


def label_volume(shape: Sequence[int], organs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.int16)
    for organ in organs:
        shown = _ellipse(*shape[1:], *(organ[name] for name in ("cy", "cx", "ry", "rx")))
        for z in organ["slices"]:
            labels[z][shown] = organ["label"]
    return labels


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
    volumes = raw_scan(mean, amp, fine, shape, spacing, salt, label_volume(shape, organs))
    image, labels = map(as_array, {"MR": prepare_mr, "CT": prepare_ct}[modality](*volumes))
    return prepared_results(image, labels, store, classes=13)


def raw_scan(
    mean: float,
    amp: float,
    fine: float,
    shape: Sequence[int],
    spacing: Sequence[float],
    salt: str,
    labels: np.ndarray,
) -> list[sitk.Image]:
    """Return the drawn image of a published scan, and its labels (Z, H, W), as volumes."""
    depth, height, width = shape
    rough = enlarged(hashed("lo", (depth, -(-height // 8), -(-width // 8)), salt).numpy(), height, width)
    raw = np.rint(mean + amp * rough + fine * hashed("fine", shape, salt).numpy()).astype(np.int16)
    volumes = [sitk.GetImageFromArray(values) for values in (raw, labels)]
    for volume in volumes:
        volume.SetSpacing([float(one) for one in spacing])
    return volumes


def prepared_results(image: np.ndarray, labels: np.ndarray, store: int, classes: int) -> Results:
    """Return the results of a case about a prepared scan (Z, H, W) of which every `store`-th row and column is kept."""
    counts = np.bincount(labels.ravel(), minlength=classes + 1)
    return {
        "out.shape": torch.tensor(image.shape),
        "out.image_stats": image_statistics(image),
        "out.image_strided": torch.from_numpy(image[:, ::store, ::store].copy()),
        "out.label_strided": torch.from_numpy(labels[:, ::store, ::store].astype(np.int64)),
        "out.label_counts": torch.from_numpy(counts),
    }


def image_statistics(image: np.ndarray) -> Result:
    """Return statistics of a volume; the product with a probe may differ by the tolerance of each voxel."""
    values = torch.from_numpy(image.astype(np.float64))
    largest = float(values.abs().max())
    bounds = torch.full((16,), 1e-6 * largest, dtype=torch.float64)
    bounds[:2] *= values.numel() ** 0.5
    return Result(statistics(values, "image"), tolerance=Tolerance("1e-6 of the largest entry", lambda ref: bounds))


def superpixels(case: Case, side: int, block: int, thresh: float, salt: str) -> Results:
    image = 100 * _slice(salt, side) + 60 * _ellipse(side, side, side // 2, side // 2, side // 3, side // 3)
    y, x = np.arange(side)[:, None], np.arange(side)[None]
    raw = (y // block) * -(-side // block) + x // block
    inside = patient_mask(image, thresh)
    out = case.data["out"]
    found = {name: inside.astype(int) if name == "mask" else renumbered(raw, inside) for name in out}
    return {name: Same(_as_stored(found[name], out[name]), out[name]) for name in out}


def _as_stored(values: np.ndarray, stored: Any) -> Any:
    rows = values.tolist()
    return ["".join(map(str, row)) for row in rows] if isinstance(stored[0], str) else rows


def _slice(salt: str, side: int) -> np.ndarray:
    """Return `about.images` (H, W), rounded to float32."""
    rough = enlarged(hashed("low", (-(-side // 8), -(-side // 8)), f"{salt}/").numpy(), side, side)
    return (1.5 * rough + 0.5 * hashed("fine", (side, side), f"{salt}/").numpy()).astype(np.float32).astype(np.float64)


KINDS = {
    "alpnet_folds": Kind(folds),
    "alpnet_dice": Kind(dice, {"": absolute(1e-12)}),
    "alpnet_evaluation": Kind(evaluation, {"": absolute(1e-4)}),
    "alpnet_prepare": Kind(preparation, {"out.image": relative(1e-6)}),
    "alpnet_superpixels": Kind(superpixels),
}
