"""BAM: head, gradients, weights of shots, whole network, layout (bam.md §2-§7), and its data and test (§8, §10)."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.loading.augment import Augmentation
from fsbench.data.batch import EpisodeTruth, normalise
from fsbench.data.transforms import resize_labels_padded
from fsbench.metrics.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from fsbench.metrics.episodic import SegmentationAnswer, count
from fsbench.protocols.pfenet import pairs_by_pixels
from fsbench.protocols.segmentation import load_segmentation
from methods.bam import BAM, BAMHead
from methods.modules.maps import resize
from methods.modules.masked_comparison import masked_layer4
from methods.modules.pspnet import Features, PSPNet, PyramidPooling, base_head
from methods.modules.pspnet_weights import to_bam_names, to_hmnet_names
from methods.modules.style import reweight_network, shot_weights
from tests.goldens.harness import EXACT, Case, Comparisons, absolute, equal
from tests.goldens.kinds.base_learner import alike, classes_of, few_differ
from tests.goldens.prior_guided import (
    GRADIENTS,
    VALUES,
    WHOLE,
    given_features,
    hashed_images,
    load_hashed,
    predictions,
    record_inputs,
    thinned,
    without_dropout,
)

BASE = {"pascal": 15, "coco": 60}
CHANNELS = {"resnet50": (512, 1024), "vgg16": (256, 512)}
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


def head(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    net = BAMHead((c["f2"], c["f3"]), c["C"], True, c["shot"], c["kshot_trans_dim"], c["low_fea"])
    net.load_state_dict({k: v for k, v in case.state().items() if not k.startswith("learner_base.")})
    net.double()
    training = "in.query_mask" in t
    net.train(training)
    without_dropout(net)
    found: dict[str, Tensor] = {}
    record_inputs(found, merge_input=net.init_merge, cls_merge_input=net.cls_merge)
    query, support, found["layer4_support_input"] = given_features(case)
    frozen = base_learner(case)
    base_logits = frozen.base_learner(frozen.cls(frozen.ppm(query.f3)))
    distances, weights = net.shot_weights(_aligned(query), _aligned(support), c["shot"])
    found["est"] = (distances * weights).sum(1, keepdim=True)
    output = net(query, support, t["in.supp_mask"], base_logits, t.get("in.cat_idx") if training else None)
    found |= {"meta_logits": output.meta, "base_logits": base_logits}
    for name, value in found.items():
        yield case.compare(f"mid.{name}", value, VALUES)
    full = {name: resize(x, c["image_side"]) for name, x in vars(output).items() if name in ("final", "meta", "base")}
    for name, value in full.items():
        yield case.compare(f"out.{name}", thinned(value), VALUES)
    yield predictions(case, full["final"], 1e-5)
    if training:
        losses = net.losses(output, t["in.query_mask"], t["in.query_base"])
        for name in ("main", "meta", "base"):
            yield case.compare(f"out.loss_{name}", losses[name][None], VALUES)
        losses["loss"].backward()
        for name, parameter in net.named_parameters():
            yield case.compare(f"grad.{name}", parameter.grad, GRADIENTS)
            yield case.compare(f"grad.state.{name}", parameter.grad, GRADIENTS)


def _aligned(x: Features) -> Features:
    return x._replace(f1=resize(x.f1, x.f2.shape[-1]))


def kshot(case: Case) -> Comparisons:
    distances, c = case.tensors["in.est_total"], case.config
    net = reweight_network(c["shot"], c["kshot_trans_dim"])
    net.load_state_dict(case.group("state.kshot_rw."))
    weights = shot_weights(distances, net, sorted_order=False)
    yield case.compare("mid.weight_softmax", weights, absolute(1e-6))
    yield case.compare("out.est_val", (weights * distances).sum(1, keepdim=True), absolute(1e-6))


def _whole(config: dict[str, Any]) -> tuple[PSPNet, BAMHead]:
    kind = "vgg16" if config["backbone"].startswith("vgg") else "resnet50"
    head = BAMHead(CHANNELS[kind], 256, True, config["shot"], config.get("kshot_trans_dim", 2))
    return PSPNet(kind, BASE[config["data_set"]]), head


def true_network(case: Case) -> Comparisons:
    frozen, net = _whole(case.config)
    load_hashed({"frozen": frozen, "head": net}, to_bam_names)
    frozen.eval(), net.eval()
    found: dict[str, Tensor] = {}
    record_inputs(found, merged=net.init_merge)
    query, supports = hashed_images(case.config)
    labels = case.tensors["in.supp_mask"]
    with torch.no_grad():
        of_query = frozen(query)
        f1, f2 = frozen.middle(supports.flatten(0, 1))
        support = masked_layer4(Features(f1, f2, f2, None), labels, frozen.layer4)
        base_logits = frozen.base_learner(of_query.f4)
        distances, weights = net.shot_weights(_aligned(of_query), _aligned(support), case.config["shot"])
        output = net(of_query, support, labels, base_logits)
    yield case.compare("mid.query_first8", found["merged"][:, :8], WHOLE)
    yield case.compare("mid.prototype", found["merged"][:, 256:512, 0, 0], WHOLE)
    yield case.compare("mid.prior", found["merged"][:, 512:], WHOLE)
    yield case.compare("mid.est", (distances * weights).sum(1, keepdim=True), WHOLE)
    yield case.compare("mid.meta_logits", output.meta, WHOLE)
    yield case.compare("mid.base_logits", base_logits, WHOLE)
    full = resize(output.final, case.config["size"])
    yield case.compare("out.final", thinned(full), WHOLE)
    yield predictions(case, full, 1e-5)


def layout(case: Case) -> Comparisons:
    with torch.device("meta"):
        frozen, net = _whole(case.config)
    shapes = {key: list(v.shape) for key, v in {**to_bam_names(frozen.state_dict()), **net.state_dict()}.items()}
    yield equal("names and shapes", shapes, case.data["shapes"])
    learnable = sum(p.numel() for p in net.parameters())
    yield equal("learnable", learnable, case.data["learnable"])
    yield equal("total", learnable + sum(p.numel() for p in frozen.parameters()), case.data["total"])
    names = {id(p): name for name, p in net.named_parameters()}
    bare: Any = SimpleNamespace(
        head=net, rates=(5e-3, 0.9, 1e-4), trainer=SimpleNamespace(estimated_stepping_batches=10)
    )
    optimizer = BAM.configure_optimizers(bare)["optimizer"]
    yield equal("groups", [[names[id(p)] for p in g["params"]] for g in optimizer.param_groups], case.data["groups"])


def triple_augmentation(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    augmentation = Augmentation(c["crop"], tuple(c["scale"]))
    for i, drawn in enumerate(c["cases"]):
        image, label, base = (t[f"in.{name}_{i}"].numpy() for name in ("image", "label", "base"))
        rng = random.Random(drawn["seed"])
        changed, labels, (bases,) = augmentation.with_more(image, label.astype(np.uint8), [base.astype(np.uint8)], rng)
        yield equal(f"{i}: draws", rng.random(), drawn["next_random_after"])
        yield alike(case, f"out.image_{i}", normalise(torch.from_numpy(changed)))
        yield few_differ(case, f"out.label_{i}", torch.from_numpy(labels))
        yield few_differ(case, f"out.base_{i}", torch.from_numpy(bases))
        for name, given in (("label", label), ("base", base)):
            if f"out.val_{name}_{i}" in t:
                resized = resize_labels_padded(given.astype(np.uint8), c["val_size"])
                yield case.compare(f"out.val_{name}_{i}", resized, EXACT)


def lists(case: Case) -> Comparisons:
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
        yield case.compare(f"out.{what}_images", torch.tensor(images), EXACT)
        yield case.compare(f"out.{what}_pairs", torch.tensor(by_class).view(-1, 2), EXACT)


def square_metrics(case: Case) -> Comparisons:
    t = case.tensors
    numbers = t["in.class_idx"].tolist()
    rows: dict[str, list[np.ndarray]] = {"final": [], "meta": []}
    n = case.config["base_classes"]
    base_counts = torch.zeros(n + 1, 6, dtype=torch.int64)
    protocol = load_segmentation("bam")

    def counted(found: Tensor, label: Tensor) -> np.ndarray:
        truth = EpisodeTruth(0, (len(found), len(found)), label, torch.tensor([True]), torch.tensor([1]))
        return protocol.count(SegmentationAnswer(found), truth).counts.numpy()

    for i in range(len(numbers)):
        label, base_label = t[f"in.label_{i}"], t[f"in.label_base_{i}"]
        _, (side, _) = protocol.geometry.truth(label.numpy(), label.shape[-1])
        for name, counts in rows.items():
            found = resize(t[f"in.{name}_{i}"], side).argmax(1)[0]
            if name == "final":
                yield case.compare(f"out.pred_{i}", found, EXACT)
            counts.append(counted(found, label))
        base = resize(t[f"in.base_{i}"], side).argmax(1)[0, : len(base_label), : base_label.shape[1]]
        base_counts += count(base.masked_fill(base_label == 255, 0), base_label, n)
    scores: dict[str, list[float]] = {"miou": [], "fb": []}
    for name, counts in rows.items():
        stacked = np.stack(counts)
        background = background_intersection_union(stacked[:, 0], "ignore")
        inter, union = intersection_union(stacked[:, 1], "ignore")
        if name == "final":
            yield case.compare("out.counts", np.stack([background[0], inter, background[1], union], 1), EXACT)
        sums = [np.array([part[np.array(numbers) == k].sum() for k in range(case.config["novel_classes"])])
                for part in (inter, union)]  # fmt: skip
        each = np.array([mean_iou(a[None], b[None]) / 100 for a, b in zip(*sums, strict=True)])
        yield case.compare("out.class_iou" + ("_meta" if name == "meta" else ""), each, absolute(1e-6))
        scores["miou"].append(mean_iou(*sums) / 100)
        scores["fb"].append(fb_iou(*sums, (background[0].sum(), background[1].sum())) / 100)
    yield case.compare("out.miou", torch.tensor(scores["miou"], dtype=torch.float64), absolute(1e-6))
    yield case.compare("out.fb_iou", torch.tensor(scores["fb"], dtype=torch.float64), absolute(1e-6))
    inter, union = intersection_union(base_counts.numpy()[1:], "ignore")
    seen = np.concatenate([t[f"in.label_base_{i}"].numpy().ravel() for i in range(len(numbers))])
    shown = np.isin(np.arange(1, n + 1), seen)
    miou = (inter[shown] / np.maximum(union[shown], 1)).mean()
    yield case.compare("out.miou_base", torch.tensor([miou]), absolute(1e-6))


KINDS = {
    "bam_head": head,
    "bam_head_train": head,
    "bam_kshot": kshot,
    "bam_true": true_network,
    "bam_layout": layout,
    "bam_triple_augmentation": triple_augmentation,
    "pfenet_lists": lists,
    "square_metrics": square_metrics,
}
