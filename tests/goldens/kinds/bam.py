"""BAM: head, gradients, weights of shots, whole network, layout (bam.md §2-§7), and its data and test (§8, §10)."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.data.label_maps import resize_labels_padded
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.methods.bam import BAM, BAMHead
from fsbench.methods.modules.base_ensemble import ensemble_losses
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.pspnet import Features, PSPNet
from fsbench.methods.modules.pspnet_weights import to_bam_names
from fsbench.protocols.episode_rules.image_lists import pairs_by_pixels
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.answers import SegmentationAnswer, count
from fsbench.scores.confusion import intersection_union, mean_iou
from tests.goldens import networks as n
from tests.goldens import prior_guided as common
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Parts, Results, absolute
from tests.goldens.kinds.base_learner import IMAGES, classes_of
from tests.goldens.meters import background_foreground, by_class, scores
from tests.goldens.prior_guided import REDUCED, WHOLE, network_kind, thinned

MIN_PIXELS = 2048


def head(
    case: Case, f2: int, f3: int, f4: int, C: int, shot: int, kshot_trans_dim: int, low_fea: Any, cls_width: int,
    data_set: str, image_side: int, supp_mask: Tensor, query_mask: Tensor | None = None,
) -> Results:  # fmt: skip
    training = query_mask is not None
    net = BAMHead((f2, f3), C, True, shot, kshot_trans_dim, low_fea)
    n.loaded(net, {k: v for k, v in case.state().items() if not k.startswith("learner_base.")})
    n.without_dropout(net.double().train(training))
    found: dict[str, Tensor] = {}
    n.record_inputs(found, merge_input=net.init_merge, cls_merge_input=net.cls_merge)
    query, support, masked = common.given_features(case)
    state = {key: value for key, value in case.state().items() if key.startswith("learner_base.")}
    frozen = common.BaseLearner(f4, cls_width, common.BASE[data_set], state).double()
    base_logits = frozen.base_learner(frozen.f4(query.f3))
    output = net(query, support, supp_mask, base_logits, case.tensors.get("in.cat_idx") if training else None)
    full = {
        name: resize(x, image_side)
        for name, x in (("final", output.logits), ("meta", output.meta), ("base", output.base))
    }
    found |= {"layer4_support_input": masked, "est": distance(net, query, support, shot)}
    results = {
        "mid.": found | {"meta_logits": output.meta, "base_logits": base_logits},
        "out.": {name: thinned(value) for name, value in full.items()},
        "out.pred": n.predictions(full["final"], 1e-5),
    }
    if query_mask is None:
        return results
    losses = ensemble_losses(output, query_mask, case.tensors["in.query_base"])
    taken = n.gradients(losses["loss"], net)
    shown = {name: losses[name][None] for name in ("main", "meta", "base")}
    return results | {"out.loss_": shown, "grad.": taken, "grad.state.": taken}


def distance(net: BAMHead, query: Features, support: Features, shots: int) -> Tensor:
    """Return the weighted style distance of the supports, low-level features at the size of the middle ones."""
    aligned = (x._replace(f1=resize(x.f1, x.f2.shape[-1])) for x in (query, support))
    distances, weights = net.shot_weights(*aligned, shots)
    return (distances * weights).sum(1, keepdim=True)


def kshot(case: Case, shot: int, kshot_trans_dim: int, est_total: Tensor) -> Results:
    return common.reweighted(case, shot, kshot_trans_dim, est_total, sorted_order=False)


def whole(config: dict[str, Any]) -> tuple[PSPNet, BAMHead]:
    kind = network_kind(config)
    head = BAMHead(common.CHANNELS[kind], 256, True, config["shot"], config.get("kshot_trans_dim", 2))
    return PSPNet(kind, common.BASE[config["data_set"]]), head


@torch.no_grad()
def true_network(case: Case, tag: int, size: int, shot: int, supp_mask: Tensor) -> Results:
    frozen, net = (n.load_hashed(module, to_bam_names).double().eval() for module in whole(case.config))
    found: dict[str, Tensor] = {}
    n.record_inputs(found, merged=net.init_merge)
    image, supports = common.hashed_images(tag, size, shot)
    query, support = frozen(image), common.read_supports(frozen, supports, supp_mask)
    base_logits = frozen.base_learner(query.f4)
    style = distance(net, query, support, shot)
    output = net(query, support, supp_mask, base_logits)
    full, merged = resize(output.logits, size), found["merged"]
    return {
        "mid.": {"query_first8": merged[:, :8], "prototype": merged[:, 256:512, 0, 0], "prior": merged[:, 512:]},
        "mid.est": style,
        "mid.meta_logits": output.meta,
        "mid.base_logits": base_logits,
        "out.final": thinned(full),
        "out.pred": n.predictions(full, 1e-5),
    }


def layout(case: Case) -> Results:
    with torch.device("meta"):
        frozen, net = whole(case.config)
    names = {id(p): name for name, p in net.named_parameters()}
    bare: Any = SimpleNamespace(head=net, rates=(5e-3, 0.9, 1e-4), total_steps=10)
    groups = BAM.configure_optimizers(bare)["optimizer"].param_groups
    state = {**to_bam_names(frozen.state_dict()), **net.state_dict()}
    return {
        "shapes": {key: list(v.shape) for key, v in state.items()},
        "groups": [[names[id(p)] for p in group["params"]] for group in groups],
        **n.numbers_of_weights(net, frozen),
    }


def triple_augmentation(case: Case, crop: int, scale: list[float], val_size: int, cases: list[Any]) -> Parts:
    yield from common.augmentations(case, Augmentation(crop, tuple(scale)), cases)  # type: ignore[arg-type]
    for i in range(len(cases)):
        for name, given in common.label_maps(case, i).items():
            yield {f"out.val_{name}_{i}": resize_labels_padded(given.numpy().astype(np.uint8), val_size)}


def lists(case: Case, labels: np.ndarray) -> Parts:
    base, novel = classes_of(case.config)
    maps = labels

    def pixels(name: str) -> tuple[dict[int, int], int]:
        numbers, counts = np.unique(maps[int(name)], return_counts=True)
        return {int(n): int(k) for n, k in zip(numbers, counts, strict=True) if n not in (0, 255)}, 0

    names = [str(i) for i in range(len(maps))]
    for what, classes, unwanted in (("train_bam", base, novel), ("train_pfenet", base, []), ("val", novel, [])):
        pairs = pairs_by_pixels(names, classes, unwanted, pixels, MIN_PIXELS)
        images = [int(name) for name in dict.fromkeys(name for name, _ in pairs)]
        by_class = sorted((number, int(name)) for name, number in pairs)
        yield {f"out.{what}_images": torch.tensor(images), f"out.{what}_pairs": torch.tensor(by_class).view(-1, 2)}


def square_metrics(case: Case, novel_classes: int, base_classes: int, class_idx: Tensor) -> Parts:
    t, numbers, protocol = case.tensors, class_idx.tolist(), load_segmentation("bam")
    counts: dict[str, list[np.ndarray]] = {"final": [], "meta": []}
    base_counts, seen = np.zeros((base_classes + 1, 6), dtype=np.int64), set()
    for i in range(len(numbers)):
        label, base_label = t[f"in.label_{i}"].numpy(), t[f"in.label_base_{i}"]
        _, (side, _) = protocol.view.truth(label, label.shape[-1])
        for name, found in counts.items():
            predicted = resize(t[f"in.{name}_{i}"], side).argmax(1)[0]
            truth = EpisodeTruth(0, (side, side), label, np.array([True]), np.array([1]))
            found.append(protocol.count(SegmentationAnswer(predicted.numpy()), truth).counts)
            yield {f"out.pred_{i}": predicted if name == "final" else None}
        base = resize(t[f"in.base_{i}"], side).argmax(1)[0, : len(base_label), : base_label.shape[1]]
        base_counts += count(base.masked_fill(base_label == 255, 0).numpy(), base_label.numpy(), base_classes)
        seen |= set(base_label.flatten().tolist())
    figures = {}
    for name, end in (("final", ""), ("meta", "_meta")):
        sums = background_foreground(np.stack(counts[name]))
        yield {"out.counts": None if end else np.concatenate(sums).T}
        by_classes = [by_class(values, numbers, novel_classes) for values in sums]
        pairs = zip(*(values[1] for values in by_classes), strict=True)
        yield {f"out.class_iou{end}": [float(mean_iou(a[None], b[None])) / 100 for a, b in pairs]}
        figures[name] = scores(*by_classes)
    inter, union = intersection_union(base_counts[1:], "ignore")
    shown = np.isin(np.arange(1, base_classes + 1), list(seen))
    yield {"out.": {key: [found[key] / 100 for found in figures.values()] for key in ("miou", "fb_iou")}}
    yield {"out.miou_base": [(inter[shown] / np.maximum(union[shown], 1)).mean()]}


KINDS = {
    "bam_head": Kind(head, REDUCED),
    "bam_head_train": Kind(head, REDUCED),
    "bam_kshot": Kind(kshot, {"": absolute(1e-6)}),
    "bam_true": Kind(true_network, WHOLE),
    "bam_layout": Kind(layout),
    "bam_triple_augmentation": Kind(triple_augmentation, {"out.image_": IMAGES}),
    "pfenet_lists": Kind(lists),
    "square_metrics": Kind(square_metrics, {"": absolute(1e-6), "out.pred_": EXACT, "out.counts": EXACT}),
}
