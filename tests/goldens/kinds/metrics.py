"""Metrics of the programs that segment one class against background (fss-protocol §6-7, hmnet.md §11.3), and the region
measures (dcama.md §12)."""

import numpy as np
import torch.nn.functional as F

from fsbench.scores.confusion import fb_iou, mean_iou
from fsbench.scores.regions import region_measures
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Results, Tolerance, absolute
from tests.goldens.meters import background_foreground, by_class, class_sums, counts_of, truth_of


def fss(case: Case) -> Results:
    """Rows of the results: background, foreground; columns: episodes, or classes of the split."""
    t, columns = case.tensors, case.tensors["in.class_ids_of_split"].tolist()
    numbers = [columns.index(number) for number in t["in.class_id"].tolist()]
    found = class_sums(t["in.pred"], truth_of(case), numbers, len(columns))
    sums = {"inter": found.inter, "union": found.union}
    sums |= {"inter_buf": found.inter_by_class, "union_buf": found.union_by_class}
    return {"out.": sums | found.scores}


def pfenet(case: Case) -> Results:
    """Two channels of any size -> label map at the label's size; shares in [0, 1]."""
    t, predictions, rows = case.tensors, {}, []
    for i in range(len(t["in.class_idx"])):
        label = t[f"in.label_{i}"]
        final = F.interpolate(t[f"in.final_{i}"], label.shape[-2:], mode="bilinear", align_corners=True)
        predictions[i] = final.argmax(1)
        rows.append(counts_of(predictions[i], label)[0])
    counts = np.stack(rows)
    inter, union = background_foreground(counts)
    target = np.stack([counts[:, 0, 5] - counts[:, 0, 2], counts[:, 0, 2]])
    numbers = t["in.class_idx"].tolist()
    classes = len(t["out.class_iou"]) if "out.class_iou" in t else max(numbers) + 1
    foreground = [by_class(part, numbers, classes)[1] for part in (inter, union)]
    total = fb_iou(inter[1], union[1], (inter[0].sum(), union[0].sum()))
    return {
        "out.pred_": predictions,
        "out.inter_union_target_per_episode": np.concatenate([inter, union, target]).T,
        "out.class_iou": [float(mean_iou(i[None], u[None])) / 100 for i, u in zip(*foreground, strict=True)],
        "out.miou": mean_iou(*foreground) / 100,
        "out.bg_fg_iou": inter.sum(1) / union.sum(1),
        "out.fb_iou": total / 100,
    }


def regions(case: Case) -> Results:
    """Return ROM and RUM of the images of a case of kind `analysis`."""
    if "in.rom_pred" not in case.tensors:
        return {}
    maps = zip(case.tensors["in.rom_pred"].numpy() > 0, case.tensors["in.rom_gt"].numpy() > 0, strict=True)
    rom, rum = np.array([region_measures(prediction, truth) for prediction, truth in maps]).T
    return {"out.rom": rom, "out.rum": rum}


def is_fss(case: Case) -> bool:
    return "in.gt" in case.tensors


def score_tolerance(case: Case) -> Tolerance:
    return absolute(1e-3 if is_fss(case) else 1e-6)


SCORES = {f"out.{name}": score_tolerance for name in ("class_iou", "miou", "bg_fg_iou", "fb_iou")}
KINDS = {
    "metrics": Kind(
        lambda case: fss(case) if is_fss(case) else pfenet(case),
        SCORES,
        accepts=lambda case: is_fss(case) or "in.final_0" in case.tensors,
    )
}
