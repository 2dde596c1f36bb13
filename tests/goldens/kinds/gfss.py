"""Generalised few-shot segmentation: lists, draws, losses and the optimisation of DIaM, BAM's scores (gfss.md)."""

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.coco.protocols import ORDER_SHA256, line_of
from fsbench.datamodules.datasets.pascal import Pascal, Pascal10
from fsbench.methods.bam import join_base
from fsbench.methods.diam import (
    Adaptation,
    Classifiers,
    Task,
    adapt,
    adapt_plainly,
    autograd,
    enlarge,
    gradients,
    losses,
    make_task,
    novel_labels,
    proportions,
    prototypes,
    true_proportions,
    without_void,
)
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.methods.modules.pspnet_weights import DIAM_NAMES, to_hmnet_names
from fsbench.networks.ops.first_largest import first_largest
from fsbench.protocols.draws.gfss import FixedSupports, draw_runs, list_sha256
from fsbench.protocols.reading import load_protocol
from fsbench.scores.answers import SegmentationAnswer, count, count_answer
from fsbench.scores.confusion import intersection_union
from fsbench.scores.generalised import mean_of_there
from tests.goldens.harness import (
    EXACT,
    Case,
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


def _index(config: dict[str, Any]) -> tuple[SegmentationIndex, int]:
    """Return the data set of a split, without files, and its fold; splits 10 and 11 of PASCAL are PASCAL-10i's."""
    split = config["split"]
    kind: type[SegmentationIndex] = Coco if config["dataset"] == "coco" else Pascal10 if split >= 10 else Pascal
    return object.__new__(kind), split % 10


def _draw() -> FixedSupports:
    found = load_protocol("gfss").draw
    assert isinstance(found, FixedSupports)
    return found


def lists(case: Case) -> Results:
    index, fold = _index(case.config)
    base, novel = index.train_classes(fold), index.test_classes(fold)
    maps = []
    for rects in case.tensors["in.rects"].tolist():
        labels = np.zeros((240, 320), np.uint8)
        for value, row, column, height, width in rects:
            if value >= 0:
                labels[row : row + height, column : column + width] = value
        maps.append({number: int((labels == number).sum()) for number in np.unique(labels)})
    queries, candidates = _draw().candidates(index.name, dict(enumerate(maps)), [*base, *novel], novel)
    numbers = range(len(maps))
    return {
        "out.base_classes": base,
        "out.novel_classes": novel,
        "out.is_query": [n in queries for n in numbers],
        "out.is_support_candidate": [[n in candidates[number] for number in novel] for n in numbers],
    }


def coco_order(case: Case) -> Results:
    ids = case.data.split()
    found = list_sha256([line_of(f"val2014/COCO_val2014_{int(number):012d}.jpg") for number in ids])
    return {
        "lines": Same(len(ids), case.config["lines"]),
        "sha256 of the list": Same(found, case.entry["sha256_of_list"]),
        "known sha256": Same(found, ORDER_SHA256),
    }


def adjust_label(case: Case) -> Results:
    index, fold = _index(case.config)
    base, novel = index.train_classes(fold), index.test_classes(fold)
    ways = torch.from_numpy(way_labels(case.tensors["in.label"].numpy(), [*base, *novel]))
    return {"out.query": ways, "out.support": novel_labels(ways, len(base), len(base) + 1)}


def transform(case: Case) -> Results:
    size, (image, labels) = case.config["size"], RESIZES["padded"]
    found = normalise(image(case.tensors["in.image"].numpy(), size))
    label = labels(case.tensors["in.label"].numpy(), size, size)
    return {"out.image_rows": found[:, case.config["rows"]], "out.label": label}


def support_draw(case: Case) -> Results:
    config, data = case.config, case.data
    classes = {*data["base"], *data["novel"]}
    queries = [name for name in data["images"] if classes.intersection(data["present"][name])]
    candidates = {number: data["candidates"][str(number)] for number in data["novel"]}
    drawn = draw_runs(
        queries, candidates, data["present"].__getitem__, shot=config["shot"], runs=config["runs"], seed=config["seed"],
        only_one_novel=config["only_one_novel"],
    )  # fmt: skip
    found = [{"supports": [list(own) for own in run.supports], "queries": len(run.queries)} for run in drawn]
    return {"runs": found}


def _task(case: Case, features_s: Tensor, features_q: Tensor) -> Task:
    """The task of features (N, K, c, h, w) and (B, 1, c, h, w), labels already in the classifier's indices."""
    t, config = case.tensors, case.config
    labels = t["in.gt_s"].flatten(0, 1)
    valid = t["in.valid_q"] if "in.valid_q" in t else t["in.gt_q"] != 255
    base = config["base_and_background"]
    return make_task(features_s.flatten(0, 1), labels, features_q[:, 0], valid.bool(), base, config["shot"])


def _true(case: Case, task: Task, size: tuple[int, int]) -> Tensor:
    t, config = case.tensors, case.config
    valid = t["in.valid_q"] if "in.valid_q" in t else t["in.gt_q"] != 255
    return true_proportions(t["in.gt_q"], valid.bool(), size, config["base_and_background"] + config["novel"])


def gfss_losses(case: Case) -> Parts:
    """Terms and gradients, by autograd and in closed form."""
    t, config = case.tensors, case.config
    size = tuple(config["map"])
    task = _task(case, t["in.features_s"], t["in.features_q"])
    novel, base, images = config["novel"], task.base, len(task.query)
    true = _true(case, task, size)
    begun = Classifiers(
        torch.cat([t["in.base_weight"], prototypes(task, novel)], 1).repeat(images, 1, 1),
        torch.cat([t["in.base_bias"], torch.zeros(novel)]).repeat(images, 1),
    )
    pi = proportions(config["pi"], begun.logits(task.query), task.query_weights, true)
    now = Classifiers(
        torch.cat([t["in.base_weight_now"], t["in.novel_weight_now"]], 2),
        torch.cat([t["in.base_bias_now"], t["in.novel_bias_now"]], 1),
    )
    logits_s, logits_q = now.logits(task.support), now.logits(task.query)
    classes = base + novel
    yield {
        "mid.prototypes": prototypes(task, novel),
        "mid.true_pi": true,
        "mid.pi": pi,
        "mid.logits_s": logits_s.view(images, classes, -1, *size).transpose(1, 2),
        "mid.logits_q": logits_q.unflatten(-1, size)[:, None],
        "mid.marginal": (logits_q.softmax(1) * task.query_weights[:, None]).sum(-1),
    }
    old = Classifiers(begun.weight[..., :base], begun.bias[:, :base]).logits(task.query).softmax(1)
    found = losses(task, now, pi, old)
    names = {"ce": "ce", "kl_pi": "d_kl", "entropy": "entropy", "distillation": "distillation"}
    for place, (own, theirs) in enumerate(names.items()):
        yield {f"out.{theirs}": getattr(found, own)}
        only = tuple(float(place == other) for other in range(4))
        for how in (autograd, gradients):
            step = how(task, now, pi, old, only)  # type: ignore[arg-type]
            yield {f"grad.{theirs}.": _parts(step, base)}


def _parts(found: Classifiers, base: int) -> Results:
    """Return weights and biases of base and novel classes; of the gradients as well."""
    return {
        "base_weight": found.weight[..., :base],
        "novel_weight": found.weight[..., base:],
        "base_bias": found.bias[:, :base],
        "novel_bias": found.bias[:, base:],
    }


def _settings(config: dict[str, Any]) -> Adaptation:
    return Adaptation(
        config["iterations"], config["lr"], tuple(config["weights"]), config["pi"], tuple(config["pi_update_at"]),
        config["fine_tune_base"],
    )  # fmt: skip


def _predicted(case: Case, logits: Tensor) -> Parts:
    """Label maps and counts; pixels with two nearly equal probabilities may go to either class."""
    size = tuple(case.tensors["in.gt_q"].shape[-2:])
    p = enlarge(logits, size)  # type: ignore[arg-type]
    largest = p.topk(2, dim=1).values
    near = (largest[:, 0] - largest[:, 1]) < MARGIN
    found = torch.stack([first_largest(maps) for maps in p])
    yield {"out.pred": Clear(found, ~near)}
    yield from _counted(case, found, case.tensors["in.gt_q"], p.shape[1], near.flatten(1).sum(1))


def _counted(case: Case, found: Tensor, truth: Tensor, classes: int, allowed: Tensor) -> Parts:
    counts = [count(one.numpy(), true.numpy(), classes - 1) for one, true in zip(found, truth, strict=True)]
    sums = np.stack([np.stack(intersection_union(one, "ignore")) for one in counts])  # (B, 2, C), classes from 1
    background = [_background(one, true) for one, true in zip(found, truth, strict=True)]
    for place, name in enumerate(("intersection", "union")):
        value = torch.from_numpy(sums[:, place])
        value[:, 0] = torch.tensor([pair[place] for pair in background])
        per_image = case.tensors[f"out.{name}"].dim() == 2
        bound = allowed if per_image else allowed.sum()
        tolerance = Tolerance("pixels near a tie", lambda ref, bound=bound: bound[..., None].expand(ref.shape).double())
        yield {f"out.{name}": Result(value if per_image else value.sum(0), tolerance=tolerance)}


def _background(found: Tensor, truth: Tensor) -> tuple[int, int]:
    counted = truth != 255
    both, either = (found == 0) & (truth == 0) & counted, ((found == 0) | (truth == 0)) & counted
    return int(both.sum()), int(either.sum())


def _adapted(case: Case, task: Task, size: tuple[int, int]) -> Parts:
    """Both ways of the optimisation, without void pixels of the supports, and the images one by one."""
    t, config = case.tensors, case.config
    base, novel, settings = task.base, config["novel"], _settings(config)
    true = _true(case, task, size)
    ways = ((adapt_plainly, task), (adapt, task), (adapt, without_void(task)))
    for how, given in ways:
        found = how(given, t["in.base_weight"], t["in.base_bias"], novel, settings, true)
        logits = found.classifiers.logits(task.query).unflatten(-1, size)
        yield {"mid.": {"pi_start": found.pi_start, "pi_end": found.pi}}
        yield {"out.": {**_parts(found.classifiers, base), "logits": logits}}
        yield from _predicted(case, logits)
    for image in range(len(task.query)):
        single = task.rows(image, image + 1)
        one = adapt(single, t["in.base_weight"], t["in.base_bias"], novel, settings, true[image : image + 1])
        own = one.classifiers.logits(single.query)[0].unflatten(-1, size)
        alone = Result(own, lambda stored, image=image: stored[image], f"of image {image} alone")
        yield {"out.logits": alone}


def optimise(case: Case) -> Parts:
    t = case.tensors
    yield from _adapted(case, _task(case, t["in.features_s"], t["in.features_q"]), tuple(case.config["map"]))


def metric(case: Case) -> Parts:
    t, config = case.tensors, case.config
    base, classes = config["base_and_background"], config["base_and_background"] + config["novel"]
    p = F.interpolate(t["in.probas"], t["in.gt"].shape[-2:], mode="bilinear", align_corners=True)
    found = torch.stack([first_largest(maps) for maps in p])
    yield from _counted(case, found, t["in.gt"], classes, torch.zeros(len(found), dtype=torch.int64))
    sums = sum(
        np.stack(intersection_union(count(one.numpy(), true.numpy(), classes - 1), "ignore"), -1)
        for one, true in zip(found, t["in.gt"], strict=True)
    )
    parts = [float(mean_of_there(sums[None, rows])[0]) for rows in (slice(1, base), slice(base, None))]
    means = np.array([*parts, sum(parts) / 2])
    yield {"out.base_novel_mean": means}


def bam(case: Case) -> Results:
    """Joined outputs, and the figures by the protocol's own way from counts to scores."""
    t, config = case.tensors, case.config
    base, novel = t["in.base_logits"].shape[1] - 1, {"pascal": 5, "coco": 20}[config["dataset"]]
    merged, rows = [], []
    for number, target in enumerate(t["in.target"]):
        size = (target.shape[-2], target.shape[-1])
        final, seen = t["in.logits"][number, None], t["in.base_logits"][number]
        found, _ = join_base(final, seen, size, config["tau"], config["merge"])
        merged.append(found)
        classes = np.array([*range(1, base + 1), base + 1 + int(t["in.novel_index"][number])])
        truth = EpisodeTruth(number, size, target.numpy(), np.ones(base + 1, dtype=bool), classes)
        rows += count_answer(SegmentationAnswer(found.numpy()), truth).rows()
    ids = [*range(1, base + novel + 1)]
    statistics = protocol_statistics("bam_gfss", rows, ids, novel_ids=ids[base:], dataset=config["dataset"])
    scores = statistics.scores()
    figures = [scores[name] for name in ("mIoU-novel", "mIoU-base", "mIoU", "FB-IoU")]
    return {"out.merged": torch.stack(merged), "out.figures": figures}


def _network(config: dict[str, Any]) -> tuple[PSPNet, dict[str, Tensor]]:
    """Return a base model with hash weights, and these under DIaM's names."""
    model = PSPNet(f"resnet{config['layers']}", config["base_and_background"] - 1, config["bottleneck_dim"])  # type: ignore[arg-type]
    own = model.state_dict()
    theirs = {_diam_name(key): value.shape for key, value in own.items()}
    state = hash_state({key: shape for key, shape in theirs.items() if not key.endswith("num_batches_tracked")})
    for key in state:
        if key.startswith("layer") and key.endswith("bn3.weight"):
            state[key] *= 0.35
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    model.load_state_dict(counts | to_hmnet_names({f"module.{key}": value for key, value in state.items()}))
    return model.eval(), {key: torch.zeros(shape) for key, shape in theirs.items()}


def _diam_name(key: str) -> str:
    return next((theirs + key.removeprefix(own) for theirs, own in DIAM_NAMES if key.startswith(own)), key)


@torch.no_grad()
def base_model(case: Case) -> Results:
    config, image = case.config, case.tensors["in.image"]
    model, keys = _network(config)
    f4 = model(image).f4
    assert f4 is not None
    return {
        "parameters": Same(sum(p.numel() for p in model.parameters()), config["parameters"]),
        "keys": Same(hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest(), config["keys_sha256"]),
        "out.features": f4.relu(),
        "out.logits": F.interpolate(model.segment(image), image.shape[-2:], mode="bilinear", align_corners=True),
    }


@torch.no_grad()
def end_to_end(case: Case) -> Parts:
    t = case.tensors
    model, _ = _network(case.config)

    def features(images: Tensor) -> Tensor:
        found = [model(image[None]).f4 for image in images.flatten(0, -4)]
        return torch.cat([f4.relu() for f4 in found if f4 is not None])

    support, query = features(t["in.support_images"]), features(t["in.query_images"])
    yield {"mid.feature_mean": support.mean((0, 2, 3))}
    shape = t["in.support_images"].shape[:2]
    task = _task(case, support.unflatten(0, shape), query[:, None])
    yield from _adapted(case, task, (query.shape[-2], query.shape[-1]))


STATED = stated("rel", lambda rel: relative(rel, 1e-7))
PERCENT = stated("percent_abs", absolute)
ADAPTED = {"": STATED, "out.pred": EXACT}
KINDS = {
    "gfss_lists": Kind(lists),
    "coco_val_list": Kind(coco_order),
    "gfss_adjust_label": Kind(adjust_label),
    "gfss_transform": Kind(transform, {"out.image_rows": stated("image_abs", absolute)}),
    "gfss_support_draw": Kind(support_draw),
    "gfss_losses": Kind(gfss_losses, {"": STATED}),
    "gfss_optimise": Kind(optimise, ADAPTED),
    "gfss_metric": Kind(metric, {"out.base_novel_mean": PERCENT}),
    "gfss_bam": Kind(bam, {"out.figures": PERCENT}),
    "gfss_base_model": Kind(base_model, {"": STATED}),
    "gfss_end_to_end": Kind(end_to_end, ADAPTED),
}
