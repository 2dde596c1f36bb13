"""BAM: head, gradients, weights of shots, whole network, layout (bam.md §2-§7), and its data and test (§8, §10)."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_padded
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.methods.bam import BAM, BAMHead
from fsbench.methods.modules.base_ensemble import ensemble_losses
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features, PSPNet, PyramidPooling, base_head
from fsbench.methods.modules.pspnet_weights import to_bam_names, to_hmnet_names
from fsbench.methods.modules.style import reweight_network, shot_weights
from fsbench.protocols.draws.image_lists import pairs_by_pixels
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.answers import SegmentationAnswer, count
from fsbench.scores.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from tests.goldens.harness import EXACT, Case, Kind, Parts, Results, Same, absolute
from tests.goldens.kinds.base_learner import IMAGES, LABELS, classes_of
from tests.goldens.networks import gradients, load_hashed, predictions, record_inputs, without_dropout
from tests.goldens.prior_guided import (
    CHANNELS,
    REDUCED,
    WHOLE,
    given_features,
    hashed_images,
    network_kind,
    thinned,
)

BASE = {"pascal": 15, "coco": 60}
MIN_PIXELS = 2048


def base_learner(case: Case) -> nn.Module:
    """Return the base learner of a case of reduced widths, with its weights."""
    c = case.config
    net = nn.Module()
    net.ppm = PyramidPooling(c["f4"])
    net.cls = nn.Sequential(
        nn.Conv2d(2 * c["f4"], c["cls_width"], 3, padding=1, bias=False), nn.BatchNorm2d(c["cls_width"])
    )
    net.base_learner = base_head(c["cls_width"], BASE[c["data_set"]])
    frozen = {key: value for key, value in case.state().items() if key.startswith("learner_base.")}
    counts = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    net.load_state_dict(counts | to_hmnet_names(frozen))
    return net.double().eval().requires_grad_(False)


def head(case: Case) -> Results:
    c, t, training = case.config, case.tensors, "in.query_mask" in case.tensors
    net = BAMHead((c["f2"], c["f3"]), c["C"], True, c["shot"], c["kshot_trans_dim"], c["low_fea"])
    net.load_state_dict({k: v for k, v in case.state().items() if not k.startswith("learner_base.")})
    net.double().train(training)
    without_dropout(net)
    found: dict[str, Tensor] = {}
    record_inputs(found, merge_input=net.init_merge, cls_merge_input=net.cls_merge)
    query, support, masked = given_features(case)
    frozen = base_learner(case)
    base_logits = frozen.base_learner(frozen.cls(frozen.ppm(query.f3)))
    output = net(query, support, t["in.supp_mask"], base_logits, t.get("in.cat_idx") if training else None)
    full = {name: resize(x, c["image_side"]) for name, x in vars(output).items() if name in ("final", "meta", "base")}
    found |= {"layer4_support_input": masked, "est": _distance(net, query, support, c["shot"])}
    results = {
        "mid.": found | {"meta_logits": output.meta, "base_logits": base_logits},
        "out.": {name: thinned(value) for name, value in full.items()},
        "out.pred": predictions(full["final"], 1e-5),
    }
    if not training:
        return results
    losses = ensemble_losses(output.final, output.meta, output.base, t["in.query_mask"], t["in.query_base"])
    found_gradients = gradients(losses["loss"], net)
    return results | {
        "out.loss_": {name: losses[name][None] for name in ("main", "meta", "base")},
        "grad.": found_gradients,
        "grad.state.": found_gradients,
    }


def _distance(net: BAMHead, query: Features, support: Features, shots: int) -> Tensor:
    """Return the weighted style distance of the supports, low-level features at the size of the middle ones."""
    aligned = (x._replace(f1=resize(x.f1, x.f2.shape[-1])) for x in (query, support))
    distances, weights = net.shot_weights(*aligned, shots)
    return (distances * weights).sum(1, keepdim=True)


def kshot(case: Case) -> Results:
    distances, c = case.tensors["in.est_total"], case.config
    net = reweight_network(c["shot"], c["kshot_trans_dim"])
    net.load_state_dict(case.group("state.kshot_rw."))
    weights = shot_weights(distances, net, sorted_order=False)
    return {"mid.weight_softmax": weights, "out.est_val": (weights * distances).sum(1, keepdim=True)}


def _whole(config: dict[str, Any]) -> tuple[PSPNet, BAMHead]:
    kind = network_kind(config)
    head = BAMHead(CHANNELS[kind], 256, True, config["shot"], config.get("kshot_trans_dim", 2))
    return PSPNet(kind, BASE[config["data_set"]]), head


def true_network(case: Case) -> Results:
    frozen, net = _whole(case.config)
    for module in (frozen, net):
        load_hashed(module, to_bam_names)
        module.double().eval()
    found: dict[str, Tensor] = {}
    record_inputs(found, merged=net.init_merge)
    query, supports = hashed_images(case.config)
    labels = case.tensors["in.supp_mask"]
    with torch.no_grad():
        of_query = frozen(query)
        f1, f2 = frozen.middle(supports.flatten(0, 1))
        support = masked_layer4(Features(f1, f2, f2, None), labels, frozen.layer4)
        base_logits = frozen.base_learner(of_query.f4)
        distance = _distance(net, of_query, support, case.config["shot"])
        output = net(of_query, support, labels, base_logits)
    full, merged = resize(output.final, case.config["size"]), found["merged"]
    return {
        "mid.": {"query_first8": merged[:, :8], "prototype": merged[:, 256:512, 0, 0], "prior": merged[:, 512:]},
        "mid.est": distance,
        "mid.meta_logits": output.meta,
        "mid.base_logits": base_logits,
        "out.final": thinned(full),
        "out.pred": predictions(full, 1e-5),
    }


def layout(case: Case) -> Results:
    with torch.device("meta"):
        frozen, net = _whole(case.config)
    learnable = sum(p.numel() for p in net.parameters())
    names = {id(p): name for name, p in net.named_parameters()}
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    bare: Any = SimpleNamespace(head=net, rates=(5e-3, 0.9, 1e-4), trainer=trainer)
    groups = BAM.configure_optimizers(bare)["optimizer"].param_groups
    state = {**to_bam_names(frozen.state_dict()), **net.state_dict()}
    return {
        "shapes": {key: list(v.shape) for key, v in state.items()},
        "learnable": learnable,
        "total": learnable + sum(p.numel() for p in frozen.parameters()),
        "groups": [[names[id(p)] for p in group["params"]] for group in groups],
    }


def triple_augmentation(case: Case) -> Parts:
    c, t = case.config, case.tensors
    augmentation = Augmentation(c["crop"], tuple(c["scale"]))
    for i, drawn in enumerate(c["cases"]):
        image, label, base = (t[f"in.{name}_{i}"].numpy() for name in ("image", "label", "base"))
        rng = random.Random(drawn["seed"])
        changed, labels, (bases,) = augmentation.with_more(image, label.astype(np.uint8), [base.astype(np.uint8)], rng)
        yield {f"{i}: draws": Same(rng.random(), drawn["next_random_after"])}
        found = {"image": normalise(torch.from_numpy(changed)), "label": labels, "base": bases}
        yield {f"out.{name}_{i}": value for name, value in found.items()}
        for name, given in (("label", label), ("base", base)):
            if f"out.val_{name}_{i}" in t:
                yield {f"out.val_{name}_{i}": resize_labels_padded(given.astype(np.uint8), c["val_size"])}


def lists(case: Case) -> Parts:
    base, novel = classes_of(case.config)
    maps = case.tensors["in.labels"].numpy()

    def pixels(name: str) -> tuple[dict[int, int], int]:
        numbers, counts = np.unique(maps[int(name)], return_counts=True)
        return {int(n): int(k) for n, k in zip(numbers, counts, strict=True) if n not in (0, 255)}, 0

    names = [str(i) for i in range(len(maps))]
    for what, classes, unwanted in (("train_bam", base, novel), ("train_pfenet", base, []), ("val", novel, [])):
        pairs = pairs_by_pixels(names, classes, unwanted, pixels, MIN_PIXELS)
        images = [int(name) for name in dict.fromkeys(name for name, _ in pairs)]
        by_class = sorted((number, int(name)) for name, number in pairs)
        yield {f"out.{what}_images": torch.tensor(images), f"out.{what}_pairs": torch.tensor(by_class).view(-1, 2)}


def square_metrics(case: Case) -> Parts:
    t = case.tensors
    numbers = t["in.class_idx"].tolist()
    rows: dict[str, list[np.ndarray]] = {"final": [], "meta": []}
    n = case.config["base_classes"]
    base_counts = np.zeros((n + 1, 6), dtype=np.int64)
    protocol = load_segmentation("bam")

    def counted(found: Tensor, label: Tensor) -> np.ndarray:
        truth = EpisodeTruth(0, (len(found), len(found)), label.numpy(), np.array([True]), np.array([1]))
        return protocol.count(SegmentationAnswer(found.numpy()), truth).counts

    for i in range(len(numbers)):
        label, base_label = t[f"in.label_{i}"], t[f"in.label_base_{i}"]
        _, (side, _) = protocol.view.truth(label.numpy(), label.shape[-1])
        for name, counts in rows.items():
            found = resize(t[f"in.{name}_{i}"], side).argmax(1)[0]
            if name == "final":
                yield {f"out.pred_{i}": found}
            counts.append(counted(found, label))
        base = resize(t[f"in.base_{i}"], side).argmax(1)[0, : len(base_label), : base_label.shape[1]]
        base_counts += count(base.masked_fill(base_label == 255, 0).numpy(), base_label.numpy(), n)
    scores: dict[str, list[float]] = {"miou": [], "fb": []}
    for name, counts in rows.items():
        stacked = np.stack(counts)
        background = background_intersection_union(stacked[:, 0], "ignore")
        inter, union = intersection_union(stacked[:, 1], "ignore")
        if name == "final":
            yield {"out.counts": np.stack([background[0], inter, background[1], union], 1)}
        sums = [np.array([part[np.array(numbers) == k].sum() for k in range(case.config["novel_classes"])])
                for part in (inter, union)]  # fmt: skip
        each = np.array([mean_iou(a[None], b[None]) / 100 for a, b in zip(*sums, strict=True)])
        yield {"out.class_iou" + ("_meta" if name == "meta" else ""): each}
        scores["miou"].append(mean_iou(*sums) / 100)
        scores["fb"].append(fb_iou(*sums, (background[0].sum(), background[1].sum())) / 100)
    inter, union = intersection_union(base_counts[1:], "ignore")
    seen = np.concatenate([t[f"in.label_base_{i}"].numpy().ravel() for i in range(len(numbers))])
    shown = np.isin(np.arange(1, n + 1), seen)
    miou = (inter[shown] / np.maximum(union[shown], 1)).mean()
    yield {"out.miou": np.array(scores["miou"]), "out.fb_iou": np.array(scores["fb"]), "out.miou_base": miou[None]}


KINDS = {
    "bam_head": Kind(head, REDUCED),
    "bam_head_train": Kind(head, REDUCED),
    "bam_kshot": Kind(kshot, {"": absolute(1e-6)}),
    "bam_true": Kind(true_network, WHOLE),
    "bam_layout": Kind(layout),
    "bam_triple_augmentation": Kind(
        triple_augmentation, {"out.image_": IMAGES, "out.label_": LABELS, "out.base_": LABELS}
    ),
    "pfenet_lists": Kind(lists),
    "square_metrics": Kind(square_metrics, {"": absolute(1e-6), "out.pred_": EXACT, "out.counts": EXACT}),
}
