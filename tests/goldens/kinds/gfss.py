"""Generalised few-shot segmentation: lists, draws, losses and the optimisation of DIaM, BAM's scores (gfss.md)."""

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID, SegmentationData
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.coco.protocols import ORDER_SHA256, line_of
from fsbench.datamodules.datasets.pascal import Pascal, Pascal10
from fsbench.methods import diam
from fsbench.methods.bam import join_base
from fsbench.methods.diam import Classifiers, Task
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.methods.modules.pspnet_weights import DIAM_NAMES, to_hmnet_names
from fsbench.networks.ops.first_largest import first_largest
from fsbench.protocols.draws.gfss import FixedSupports, draw_runs, lines_sha256
from fsbench.protocols.reading import load_protocol
from fsbench.scores.answers import SegmentationAnswer, count, count_answer
from fsbench.scores.confusion import intersection_union
from fsbench.scores.generalised import mean_of_there
from tests.goldens.cases import Case
from tests.goldens.declared import (
    EXACT,
    Clear,
    Kind,
    Parts,
    Result,
    Results,
    Same,
    Tolerance,
    absolute,
    relative,
    stated,
)
from tests.goldens.hashed import hash_state
from tests.goldens.meters import protocol_statistics

MARGIN = 1e-4
"""Difference of the two largest probabilities below which a pixel may go to either class."""


def classes_of(dataset: str, split: int) -> tuple[str, list[int], list[int]]:
    """Return the name of a split's data set, its base and its novel classes, without files.

    Splits 10 and 11 of PASCAL are PASCAL-10i's.
    """
    kind: type[SegmentationData] = Coco if dataset == "coco" else Pascal10 if split >= 10 else Pascal
    data, fold = object.__new__(kind), split % 10
    return data.name, data.train_classes(fold), data.test_classes(fold)


def lists(dataset: str, split: int, rects: Tensor) -> Results:
    name, base, novel = classes_of(dataset, split)
    maps = []
    for shapes in rects.tolist():
        labels = np.zeros((240, 320), np.uint8)
        for value, row, column, height, width in shapes:
            if value >= 0:
                labels[row : row + height, column : column + width] = value
        maps.append({number: int((labels == number).sum()) for number in np.unique(labels)})
    draw = load_protocol("gfss").draw
    assert isinstance(draw, FixedSupports)
    queries, candidates = draw.candidates(name, dict(enumerate(maps)), [*base, *novel], novel)
    return {
        "out.base_classes": base,
        "out.novel_classes": novel,
        "out.is_query": [n in queries for n in range(len(maps))],
        "out.is_support_candidate": [[n in candidates[number] for number in novel] for n in range(len(maps))],
    }


def coco_order(case: Case, lines: int) -> Results:
    ids = case.data.split()
    found = lines_sha256([line_of(f"val2014/COCO_val2014_{int(number):012d}.jpg") for number in ids])
    return {
        "lines": Same(len(ids), lines),
        "sha256 of the list": Same(found, case.entry["sha256_of_list"]),
        "known sha256": Same(found, ORDER_SHA256),
    }


def adjust_label(dataset: str, split: int, label: np.ndarray) -> Results:
    _, base, novel = classes_of(dataset, split)
    ways = torch.from_numpy(way_labels(label, [*base, *novel]))
    return {"out.query": ways, "out.support": diam.novel_labels(ways, len(base), len(base) + 1)}


def transform(size: int, rows: list[int], image: np.ndarray, label: np.ndarray) -> Results:
    resize_image, resize_labels = RESIZES["padded"]
    pixels = normalise(resize_image(image, size))
    return {"out.image_rows": pixels[:, rows], "out.label": resize_labels(label, size, size)}


def support_draw(case: Case, shot: int, runs: int, seed: int, only_one_novel: bool) -> Results:
    data = case.data
    classes, shown = {*data["base"], *data["novel"]}, data["present"]
    queries = [name for name in data["images"] if classes.intersection(shown[name])]
    candidates = {number: data["candidates"][str(number)] for number in data["novel"]}
    rule: dict[str, Any] = {"shot": shot, "runs": runs, "seed": seed, "only_one_novel": only_one_novel}
    drawn = draw_runs(queries, candidates, shown.__getitem__, **rule)
    return {"runs": [{"supports": [list(own) for own in run.supports], "queries": len(run.queries)} for run in drawn]}


def valid_pixels(case: Case) -> Tensor:
    t = case.tensors
    return (t["in.valid_q"] if "in.valid_q" in t else t["in.gt_q"] != 255).bool()


def task_of(case: Case, features_s: Tensor, features_q: Tensor) -> Task:
    """Return the task of features (N, K, c, h, w) and (B, 1, c, h, w), labels already in the classifier's indices."""
    labels, config = case.tensors["in.gt_s"].flatten(0, 1), case.config
    settings = config["base_and_background"], config["shot"]
    return diam.make_task(features_s.flatten(0, 1), labels, features_q[:, 0], valid_pixels(case), *settings)


def true_shares(case: Case, size: tuple[int, int]) -> Tensor:
    """Return the shares (B, C) of the classes in the truth at the size of the features."""
    small = F.interpolate(case.tensors["in.gt_q"][:, None].float(), size)[:, 0].long().flatten(1)
    weights = diam.pixel_weights(F.interpolate(valid_pixels(case)[:, None].float(), size)[:, 0].flatten(1))
    classes = case.config["base_and_background"] + case.config["novel"]
    one_hot = F.one_hot(small.masked_fill(small == VOID, 0), classes).float()
    return (one_hot * weights[..., None]).sum(1)


def losses(case: Case, map_: list[int], novel: int, pi: Any, features_s: Tensor, features_q: Tensor) -> Parts:
    """Terms and gradients, by autograd and in closed form."""
    t, size = case.tensors, (map_[0], map_[1])
    task = task_of(case, features_s, features_q)
    base, images = task.base, len(task.query)
    true, means = true_shares(case, size), diam.prototypes(task, novel)
    begun = Classifiers(
        torch.cat([t["in.base_weight"], means], 1).repeat(images, 1, 1),
        torch.cat([t["in.base_bias"], torch.zeros(novel)]).repeat(images, 1),
    )
    shares = diam.proportions(pi, begun.logits(task.query), task.query_weights, true)
    now = Classifiers(
        torch.cat([t["in.base_weight_now"], t["in.novel_weight_now"]], 2),
        torch.cat([t["in.base_bias_now"], t["in.novel_bias_now"]], 1),
    )
    logits_s, logits_q = now.logits(task.support), now.logits(task.query)
    yield {
        "mid.prototypes": means,
        "mid.true_pi": true,
        "mid.pi": shares,
        "mid.logits_s": logits_s.view(images, base + novel, -1, *size).transpose(1, 2),
        "mid.logits_q": logits_q.unflatten(-1, size)[:, None],
        "mid.marginal": (logits_q.softmax(1) * task.query_weights[:, None]).sum(-1),
    }
    old = Classifiers(begun.weight[..., :base], begun.bias[:, :base]).logits(task.query).softmax(1)
    found = diam.losses(task, now, shares, old)
    names = {"ce": "ce", "kl_pi": "d_kl", "entropy": "entropy", "distillation": "distillation"}
    for place, (own, theirs) in enumerate(names.items()):
        yield {f"out.{theirs}": getattr(found, own)}
        only = tuple(float(place == other) for other in range(4))
        for how in (diam.autograd, diam.gradients):
            yield {f"grad.{theirs}.": parts_of(how(task, now, shares, old, only), base)}  # type: ignore[arg-type]


def parts_of(found: Classifiers, base: int) -> Results:
    """Return weights and biases of base and novel classes; of the gradients as well."""
    return {
        "base_weight": found.weight[..., :base],
        "novel_weight": found.weight[..., base:],
        "base_bias": found.bias[:, :base],
        "novel_bias": found.bias[:, base:],
    }


def predicted(case: Case, logits: Tensor) -> Parts:
    """Yield label maps and counts; pixels with two nearly equal probabilities may go to either class."""
    truth = case.tensors["in.gt_q"]
    p = diam.enlarge(logits, (truth.shape[-2], truth.shape[-1]))
    largest = p.topk(2, dim=1).values
    near = (largest[:, 0] - largest[:, 1]) < MARGIN
    found = torch.stack([first_largest(maps) for maps in p])
    yield {"out.pred": Clear(found, ~near)}
    yield counted(case, found, truth, p.shape[1], near.flatten(1).sum(1))


def counted(case: Case, found: Tensor, truth: Tensor, classes: int, allowed: Tensor) -> Results:
    counts = [count(one.numpy(), true.numpy(), classes - 1) for one, true in zip(found, truth, strict=True)]
    sums = np.stack([np.stack(intersection_union(one, "ignore")) for one in counts])  # (B, 2, C), classes from 1
    seen, shown, known = found == 0, truth == 0, truth != 255
    background = ((part & known).flatten(1).sum(1) for part in (seen & shown, seen | shown))
    results = {}
    for place, (name, own) in enumerate(zip(("intersection", "union"), background, strict=True)):
        value = torch.from_numpy(sums[:, place])
        value[:, 0] = own
        per_image = case.tensors[f"out.{name}"].dim() == 2
        bound = allowed if per_image else allowed.sum()
        tolerance = Tolerance("pixels near a tie", lambda ref, bound=bound: bound[..., None].expand(ref.shape).double())
        results[f"out.{name}"] = Result(value if per_image else value.sum(0), tolerance=tolerance)
    return results


def adapted(case: Case, task: Task, size: tuple[int, int]) -> Parts:
    """Both ways of the optimisation, without void pixels of the supports, and the images one by one."""
    c, true = case.config, true_shares(case, size)
    settings = diam.AdaptationSettings(
        c["iterations"], c["lr"], tuple(c["weights"]), c["pi"], tuple(c["pi_update_at"]), c["fine_tune_base"]
    )
    start = case.tensors["in.base_weight"], case.tensors["in.base_bias"], c["novel"], settings
    ways = ((diam.adapt_plainly, task), (diam.adapt, task), (diam.adapt, diam.without_void(task)))
    for how, given in ways:
        found = how(given, *start, true)
        logits = found.classifiers.logits(task.query).unflatten(-1, size)
        yield {"mid.": {"pi_start": found.pi_start, "pi_end": found.pi}}
        yield {"out.": {**parts_of(found.classifiers, task.base), "logits": logits}}
        yield from predicted(case, logits)
    for image in range(len(task.query)):
        single = task._replace(query=task.query[image, None], query_weights=task.query_weights[image, None])
        one = diam.adapt(single, *start, true[image : image + 1])
        own = one.classifiers.logits(single.query)[0].unflatten(-1, size)
        yield {"out.logits": Result(own, lambda stored, image=image: stored[image], f"of image {image} alone")}


def optimise(case: Case, map_: list[int], features_s: Tensor, features_q: Tensor) -> Parts:
    yield from adapted(case, task_of(case, features_s, features_q), (map_[0], map_[1]))


def metric(case: Case, base_and_background: int, novel: int, probas: Tensor, gt: Tensor) -> Results:
    base, classes = base_and_background, base_and_background + novel
    p = F.interpolate(probas, gt.shape[-2:], mode="bilinear", align_corners=True)
    found = torch.stack([first_largest(maps) for maps in p])
    sums = sum(
        np.stack(intersection_union(count(one.numpy(), true.numpy(), classes - 1), "ignore"), -1)
        for one, true in zip(found, gt, strict=True)
    )
    parts = [float(mean_of_there(sums[None, rows])[0]) for rows in (slice(1, base), slice(base, None))]
    counts = counted(case, found, gt, classes, torch.zeros(len(found), dtype=torch.int64))
    return {**counts, "out.base_novel_mean": np.array([*parts, sum(parts) / 2])}


def bam(
    dataset: str, merge: Any, tau: float, base_logits: Tensor, logits: Tensor, target: Tensor, novel_index: Tensor
) -> Results:
    """Joined outputs, and the figures by the protocol's own way from counts to scores."""
    base, novel = base_logits.shape[1] - 1, {"pascal": 5, "coco": 20}[dataset]
    merged, rows = [], []
    for number, true in enumerate(target):
        size = (true.shape[-2], true.shape[-1])
        found, _ = join_base(logits[number, None], base_logits[number], size, tau, merge)
        merged.append(found)
        classes = np.array([*range(1, base + 1), base + 1 + int(novel_index[number])])
        truth = EpisodeTruth(number, size, true.numpy(), np.ones(base + 1, dtype=bool), classes)
        rows += count_answer(SegmentationAnswer(found.numpy()), truth).rows()
    ids = [*range(1, base + novel + 1)]
    scores = protocol_statistics("bam_gfss", rows, ids, novel_ids=ids[base:], dataset=dataset).scores()
    figures = [scores[name] for name in ("mIoU-novel", "mIoU-base", "mIoU", "FB-IoU")]
    return {"out.merged": torch.stack(merged), "out.figures": figures}


def hashed_network(config: dict[str, Any]) -> tuple[PSPNet, list[str]]:
    """Return a base model with hash weights, and the names of these in DIaM's files."""
    model = PSPNet(f"resnet{config['layers']}", config["base_and_background"] - 1, config["bottleneck_dim"])  # type: ignore[arg-type]
    own = model.state_dict()
    theirs = {diam_name(key): value.shape for key, value in own.items()}
    state = hash_state({key: shape for key, shape in theirs.items() if not key.endswith("num_batches_tracked")})
    for key in state:
        if key.startswith("layer") and key.endswith("bn3.weight"):
            state[key] *= 0.35
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    model.load_state_dict(counts | to_hmnet_names({f"module.{key}": value for key, value in state.items()}))
    return model.eval(), sorted(theirs)


def diam_name(key: str) -> str:
    return next((theirs + key.removeprefix(own) for theirs, own in DIAM_NAMES if key.startswith(own)), key)


@torch.no_grad()
def base_model(case: Case, parameters: int, keys_sha256: str, image: Tensor) -> Results:
    model, keys = hashed_network(case.config)
    f4 = model(image).f4
    assert f4 is not None
    return {
        "parameters": Same(sum(p.numel() for p in model.parameters()), parameters),
        "keys": Same(hashlib.sha256("\n".join(keys).encode()).hexdigest(), keys_sha256),
        "out.features": f4.relu(),
        "out.logits": F.interpolate(model.segment(image), image.shape[-2:], mode="bilinear", align_corners=True),
    }


@torch.no_grad()
def end_to_end(case: Case, support_images: Tensor, query_images: Tensor) -> Parts:
    model, _ = hashed_network(case.config)

    def features(images: Tensor) -> Tensor:
        found = [model(image[None]).f4 for image in images.flatten(0, -4)]
        return torch.cat([f4.relu() for f4 in found if f4 is not None])

    support, query = features(support_images), features(query_images)
    yield {"mid.feature_mean": support.mean((0, 2, 3))}
    task = task_of(case, support.unflatten(0, support_images.shape[:2]), query[:, None])
    yield from adapted(case, task, (query.shape[-2], query.shape[-1]))


STATED = stated("rel", lambda rel: relative(rel, 1e-7))
PERCENT = stated("percent_abs", absolute)
ADAPTED = {"": STATED, "out.pred": EXACT}
KINDS = {
    "gfss_lists": Kind(lists),
    "coco_val_list": Kind(coco_order),
    "gfss_adjust_label": Kind(adjust_label),
    "gfss_transform": Kind(transform, {"out.image_rows": stated("image_abs", absolute)}),
    "gfss_support_draw": Kind(support_draw),
    "gfss_losses": Kind(losses, {"": STATED}),
    "gfss_optimise": Kind(optimise, ADAPTED),
    "gfss_metric": Kind(metric, {"out.base_novel_mean": PERCENT}),
    "gfss_bam": Kind(bam, {"out.figures": PERCENT}),
    "gfss_base_model": Kind(base_model, {"": STATED}),
    "gfss_end_to_end": Kind(end_to_end, ADAPTED),
}
