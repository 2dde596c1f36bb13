"""Metrics of the programs that segment one class against background (fss-protocol §6-7, hmnet.md §11.3), and the region
measures (dcama.md §12)."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.dataset import VOID
from fsbench.metrics.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from fsbench.metrics.episodic import count
from fsbench.metrics.regions import region_measures
from tests.goldens.harness import EXACT, Case, Comparisons, absolute


def metrics(case: Case) -> Comparisons:
    return _fss(case) if "in.gt" in case.tensors else _pfenet(case)


def _fss(case: Case) -> Comparisons:
    """Rows of the results: background, foreground; columns: episodes, or classes of the split."""
    t = case.tensors
    truth = t["in.gt"].clone()
    if "in.ignore" in t:
        truth[t["in.ignore"] > 0] = VOID
    counts = _counts(t["in.pred"], truth)
    inter, union = _background_foreground(counts)
    yield case.compare("out.inter", inter, EXACT)
    yield case.compare("out.union", union, EXACT)
    columns = t["in.class_ids_of_split"].tolist()
    numbers = [columns.index(number) for number in t["in.class_id"].tolist()]
    inter, union = _by_class(inter, numbers, len(columns)), _by_class(union, numbers, len(columns))
    yield case.compare("out.inter_buf", inter, EXACT)
    yield case.compare("out.union_buf", union, EXACT)
    yield case.compare("out.miou", mean_iou(inter[1], union[1]), absolute(1e-3))
    yield case.compare("out.fb_iou", fb_iou(inter[1], union[1], (inter[0].sum(), union[0].sum())), absolute(1e-3))


def _pfenet(case: Case) -> Comparisons:
    """Two channels of any size -> label map at the label's size; shares in [0, 1]."""
    t = case.tensors
    rows = []
    for i in range(len(t["in.class_idx"])):
        label = t[f"in.label_{i}"]
        final = F.interpolate(t[f"in.final_{i}"], label.shape[-2:], mode="bilinear", align_corners=True)
        prediction = final.argmax(1)
        yield case.compare(f"out.pred_{i}", prediction, EXACT)
        rows.append(_counts(prediction, label)[0])
    counts = np.stack(rows)
    inter, union = _background_foreground(counts)
    target = np.stack([counts[:, 0, 5] - counts[:, 0, 2], counts[:, 0, 2]])
    yield case.compare("out.inter_union_target_per_episode", np.concatenate([inter, union, target]).T, EXACT)
    numbers = t["in.class_idx"].tolist()
    classes = len(t["out.class_iou"]) if "out.class_iou" in t else max(numbers) + 1
    foreground = [_by_class(part, numbers, classes)[1] for part in (inter, union)]
    each = [float(mean_iou(i[None], u[None])) / 100 for i, u in zip(*foreground, strict=True)]
    yield case.compare("out.class_iou", each, absolute(1e-6))
    yield case.compare("out.miou", mean_iou(*foreground) / 100, absolute(1e-6))
    both = inter.sum(1) / union.sum(1)
    yield case.compare("out.bg_fg_iou", both, absolute(1e-6))
    total = fb_iou(inter[1], union[1], (inter[0].sum(), union[0].sum()))
    yield case.compare("out.fb_iou", total / 100, absolute(1e-6))


def _counts(predictions: Tensor, truths: Tensor) -> np.ndarray:
    """Maps (E, h, w) -> counts (E, 2, 6) of slot 0, any foreground, and of the one way."""
    return np.stack([count(p, t, 1).numpy() for p, t in zip(predictions, truths, strict=True)])


def _background_foreground(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (E, 2, 6) -> intersections and unions (2, E), void left out."""
    background = background_intersection_union(counts[:, 0], "ignore")
    foreground = intersection_union(counts[:, 1], "ignore")
    return np.stack([background[0], foreground[0]]), np.stack([background[1], foreground[1]])


def _by_class(values: np.ndarray, columns: list[int], classes: int) -> np.ndarray:
    """Values (2, E) summed by class: (2, classes)."""
    total = np.zeros((2, classes), dtype=np.int64)
    np.add.at(total, (slice(None), columns), values)
    return total


def region_comparisons(case: Case) -> Comparisons:
    """ROM and RUM of the images of a case of kind `analysis`."""
    if "in.rom_pred" not in case.tensors:
        return
    maps = zip(case.tensors["in.rom_pred"].numpy() > 0, case.tensors["in.rom_gt"].numpy() > 0, strict=True)
    rom, rum = np.array([region_measures(prediction, truth) for prediction, truth in maps]).T
    yield case.compare("out.rom", rom, absolute(1e-6))
    yield case.compare("out.rum", rum, absolute(1e-6))


KINDS = {"metrics": (lambda case: "in.gt" in case.tensors or "in.final_0" in case.tensors, metrics)}
