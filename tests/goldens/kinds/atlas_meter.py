"""Meters of published programs on stored answers, through the parts of their rows (atlas-runs.md §6-10).

Shapes: E episodes, S side of the network's input, H W sides of a query, h w sides at which it is compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import way_labels
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.programs import Program, read_programs
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.published_tests import Measuring, measuring
from fsbench.protocols.reading import load_protocol
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult
from fsbench.scores.confusion import background_intersection_union, intersection_union
from fsbench.scores.run_statistics import episode_statistics
from tests.fsbench.runs import some_header
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Near, Result, Results, Same, Tolerance, proportional
from tests.goldens.meters import background_foreground

MARGIN = 1e-5
"""Difference of two interpolated logits below which a pixel may go to either side."""
FOLD = (1, 2, 3, 4, 5)
"""Classes of fold 0 of PASCAL."""
ISIC = (1, 2, 3)


@dataclass(frozen=True)
class Meter:
    """A program's meter: its half of a test, and what it answers.

    Attributes:
        measuring: of the words of its row.
        protocol: a test that counts so.
    """

    measuring: Measuring
    protocol: Protocol


def program_of_row(row: str) -> Program:
    """Return the program of a row that goldens call "method/data set" in lower case."""
    return next(each for each in read_programs() if f"{each.method}/{each.dataset}".lower() == row)


def meter_of_row(row: str) -> Meter:
    found = measuring(program_of_row(row).conditions)
    protocol = Protocol("meter", 1, "", Listed(), found.view, found.counting)
    protocol.check()
    return Meter(found, protocol)


def label_maps(case: Case, dataset: str) -> list[np.ndarray]:
    """Return the label maps (H, W) of the queries: numbers of classes, 255 void; ISIC's show the episode's class."""
    sizes, labels = case.tensors["in.sizes"], case.tensors["in.labels"]
    parts = labels[: int(sizes.prod(1).sum())].split(sizes.prod(1).tolist())
    maps = [part.numpy().reshape(size) for part, size in zip(parts, sizes.tolist(), strict=True)]
    if dataset == "pascal":
        return maps
    numbers = case.tensors["in.class"].tolist()
    return [np.where(own >= 128, number, 0).astype(np.uint8) for own, number in zip(maps, numbers, strict=True)]


def answered(words: str, stored: Tensor, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return the label map (h, w) that a network's answer (2, S, S) stands for, and how many of its pixels are unclear.

    Args:
        words: the answer in the words of the golden: what is enlarged, how, and what is foreground.
        stored: two channels of logits in steps of 1/16, 128 for 0.
        size: (h, w) that is asked for.
    """
    logits = (stored.float() - 128) / 16
    maps = logits[1:] - logits[:1] if words.startswith("one ") else logits
    if "probabilities" in words:
        maps = maps.sigmoid()
    if tuple(maps.shape[1:]) != size:
        corners = "without align_corners" not in words
        maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=corners)[0]
    if len(maps) == 2:
        return maps.argmax(0).numpy(), int(((maps[1] - maps[0]).abs() < MARGIN).sum())
    scores = maps[0] - 0.5 if "probabilities" in words else maps[0]
    strictly = "larger" in words or "> 0" in words  # FSSAM's sigmoid >= 0.5 is the only one that takes a tie (§7)
    found = scores > 0 if strictly else scores >= 0
    return found.numpy().astype(np.int64), int((scores.abs() < MARGIN).sum())


def unclear_pixels(numbers: list[int]) -> Tolerance:
    """Allow each episode (row) to differ by its number of unclear pixels."""

    def bound(reference: Tensor) -> Tensor:
        allowed = torch.tensor(numbers, dtype=torch.float64)
        return allowed.reshape(-1, *[1] * (reference.dim() - 1)).expand(reference.shape)

    return Tolerance("exact, but unclear pixels", bound)


def few_pixels(number: int) -> Tolerance:
    """Allow sums over all episodes to differ by this number of unclear pixels."""
    return Tolerance("exact, but unclear pixels", lambda reference: float(number))


def meter(case: Case, row: str, dataset: str, answer: str, S: int, class_: Tensor) -> Results:
    found, queries = meter_of_row(row), label_maps(case, dataset)
    if "map of indices" in answer:
        return all_classes(case, found, queries, S)
    void = found.protocol.counting.void
    results, labels, sizes, unclear = [], [], [], []
    for place, (query, number) in enumerate(zip(queries, class_.tolist(), strict=True)):
        way = way_labels(query, [number])
        truth, size = found.protocol.view.truth(way, S)
        label_map, doubts = answered(answer, case.tensors["in.answer"][place], size)
        known = EpisodeTruth(place, size, truth, np.array([1 in way]), np.array([number]))
        results.append(found.protocol.count(SegmentationAnswer(label_map), known))
        labels.append(np.where(truth == VOID, 0, truth) if void == "background" else truth)
        sizes.append(size)
        unclear.append(doubts)
    inter, union = background_foreground(np.stack([each.counts for each in results]), void)
    alone = case.tensors["out.union"].dim() == 1 if "out.union" in case.tensors else False
    columns = {
        f"out.{name}": Result(torch.from_numpy(both[1] if alone else both.T), tolerance=unclear_pixels(unclear))
        for name, both in (("intersection", inter), ("union", union))
    }
    every = few_pixels(sum(unclear))
    return {
        **columns,
        "out.compared_at": np.array(sizes),
        "out.label": compared_labels(labels, case),
        "out.tp_fp_fn": Result(hits_and_misses(results, case), tolerance=every),
        "out.hist": Result(confusion(results), tolerance=every),
        **figures(case, found, results, FOLD if dataset == "pascal" else ISIC, dataset),
    }


def compared_labels(labels: list[np.ndarray], case: Case) -> np.ndarray:
    """Return the truths as compared: one after the other, or those at S x S together, with void around a letterbox."""
    stored = case.tensors.get("out.label")
    if stored is None or stored.dim() == 1:
        return np.concatenate([each.ravel() for each in labels])
    canvas = np.full(stored.shape, VOID, np.uint8)
    for place, each in enumerate(labels):
        canvas[place, : each.shape[0], : each.shape[1]] = each
    return canvas


def class_hits(results: list[SegmentationResult], number: int, present_only: bool) -> np.ndarray:
    """Return hits, false alarms and misses (3,) of a class over its episodes; class 0 is the background of all."""
    sums = np.zeros(3, dtype=np.int64)
    for each in results:
        hits, predicted, true, _, _, valid = each.counts[min(number, 1)].tolist()
        if number == 0:
            hits, predicted, true = valid - (predicted + true - hits), valid - predicted, valid - true
        elif number != each.classes[0]:
            continue
        if true or not present_only:
            sums += hits, predicted - hits, true - hits
    return sums


def hits_and_misses(results: list[SegmentationResult], case: Case) -> Tensor:
    """Return hits, false alarms and misses of the background and the classes, (6, 3), or (3, 6) as PANet's."""
    stored = case.tensors.get("out.tp_fp_fn")
    turned = stored is not None and len(stored) == 3
    found = torch.from_numpy(np.stack([class_hits(results, number, turned) for number in (0, *FOLD)]))
    return found.T if turned else found


def confusion(results: list[SegmentationResult]) -> Tensor:
    """Return a confusion matrix (21, 21) of the background and the classes, by truth and by prediction."""
    table = torch.zeros(21, 21, dtype=torch.int64)
    for each in results:
        number, (hits, predicted, true, _, _, valid) = int(each.classes[0]), each.counts[1].tolist()
        table[number, number] += hits
        table[0, number] += predicted - hits
        table[number, 0] += true - hits
        table[0, 0] += valid - (predicted + true - hits)
    return table


def figures(
    case: Case, found: Meter, results: list[SegmentationResult], classes: tuple[int, ...], dataset: str
) -> Results:
    """Compare the scores of the count table with those that the program returned or printed."""
    expected = {name: value for name, value in case.entry["expected"].items() if value is not None}
    frame = pl.DataFrame([row for each in results for row in each.rows()]).with_columns(
        query=pl.col("episode").cast(pl.String)
    )
    ious = class_ious(found, results)
    named = {"mIoU": 0.01, "mIoU_percent": 1.0}
    both = {"FB-IoU": 0.01, "FB_IoU_percent": 1.0}
    scores = found.protocol.statistics(frame, some_header(class_ids=list(classes), dataset=dataset)).scores()
    compared: dict[str, Any] = {
        key: Near(scores[score] * scale, expected[key])
        for score, keys in (("mIoU", named), ("FB-IoU", both))
        for key, scale in keys.items()
        if key in expected
    }
    for number, value in expected.get("class_iou", {}).items():
        own = ious.get(int(number), 0.0 if found.protocol.counting.absent == "zero" else None)
        compared[f"class_iou of {number}"] = Same(own, value) if value is None or own is None else Near(own, value)
    if "mIoU_of_all_five" in expected:
        compared["mIoU_of_all_five"] = Same(str(scores["mIoU"]), expected["mIoU_of_all_five"])
    for key in (key for key in expected if key.startswith("mIoU_of_1")):
        shown = [int(number) for number in key.removeprefix("mIoU_of_").split("_")]
        part = found.protocol.statistics(frame, some_header(class_ids=shown)).scores()
        compared[key] = Near(part["mIoU"] / 100, expected[key])
    if "binary" in expected:
        sums = [np.sum(parts, 1) for parts in (background_sums(found, results), foreground_sums(found, results))]
        compared["binary"] = Near([intersection / union for intersection, union in sums], expected["binary"])
    return compared


def foreground_sums(found: Meter, results: list[SegmentationResult]) -> np.ndarray:
    counts = np.stack([each.counts[1] for each in results])
    return np.stack(intersection_union(counts, found.protocol.counting.void))


def background_sums(found: Meter, results: list[SegmentationResult]) -> np.ndarray:
    counts = np.stack([each.counts[0] for each in results])
    return np.stack(background_intersection_union(counts, found.protocol.counting.void))


def class_ious(found: Meter, results: list[SegmentationResult]) -> Mapping[int, float]:
    """Return the IoU of each class that an episode is about, as a fraction."""
    numbers = np.array([each.classes[0] for each in results])
    intersection, union = foreground_sums(found, results)
    return {int(n): float(intersection[numbers == n].sum() / union[numbers == n].sum()) for n in set(numbers.tolist())}


def all_classes(case: Case, found: Meter, queries: list[np.ndarray], side: int) -> Results:
    """Compare the meter of base and novel classes at once: answers are maps of indices (S, S), base classes first."""
    novel = list(FOLD)
    ordered = [*(number for number in range(1, 21) if number not in novel), *novel]
    rows, unions, sizes = [], [], []
    for place, query in enumerate(queries):
        way = way_labels(query, ordered)
        truth, size = found.protocol.view.truth(way, side)
        one_hot = F.one_hot(case.tensors["in.answer"][place].long(), 21).movedim(2, 0)[None].float()
        label_map = F.interpolate(one_hot, size, mode="bilinear", align_corners=True)[0].argmax(0).numpy()
        present = np.isin(np.arange(1, 21), way)
        known = EpisodeTruth(place, size, truth, present, np.array(ordered))
        result = found.protocol.count(SegmentationAnswer(label_map), known)
        rows += result.rows()
        ways = intersection_union(result.counts[1:], found.protocol.counting.void)
        behind = background_intersection_union(result.counts[0], found.protocol.counting.void)
        unions.append([np.concatenate([[first], others]) for first, others in zip(behind, ways, strict=True)])
        sizes.append(size)
    sums = np.array(unions)
    frame = pl.DataFrame(rows).with_columns(query=pl.col("episode").cast(pl.String))
    header = some_header(class_ids=ordered, novel_ids=novel, run_lengths=[len(sizes)])
    metrics = load_protocol("capl").own_metrics
    scores = episode_statistics(frame, ordered, found.protocol.counting.void, metrics, header).scores()
    expected, total = case.entry["expected"], sums.sum(0)
    names = dict(zip(("mIoU", "base_mIoU", "novel_mIoU"), metrics, strict=True))
    return {
        "out.intersection": sums[:, 0],
        "out.union": sums[:, 1],
        "out.compared_at": np.array(sizes),
        "class_iou": Near(total[0] / np.maximum(total[1], 1), expected.get("class_iou")),
        **{key: Near(scores[metric.name] / 100, expected.get(key)) for key, metric in names.items()},
    }


KINDS = {
    "atlas_meter": Kind(
        meter, {name: proportional(1e-5) for name in ("mIoU", "FB", "class_iou", "binary", "base_mIoU", "novel_mIoU")}
    )
}
