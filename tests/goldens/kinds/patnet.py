"""PATNet: anchor transformation, learner, whole network, training, fine-tuning, layout, draws (patnet.md)."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsbench.core.shots import Shot, vote
from fsbench.methods.hsnet import patnet
from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from fsbench.methods.hsnet.patnet import PATNet, Support
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS, block_features, build_pyramid_network
from fsbench.networks.ops.kept_correlation import resize_mask
from fsbench.protocols.draws.patnet import epoch_seed, item_order
from fsbench.protocols.episode_rules.hsnet import draw
from tests.goldens import networks as n
from tests.goldens.batches import training_batch
from tests.goldens.cases import Case
from tests.goldens.declared import DOUBLE_AND_SINGLE, Clear, Kind, Parts, Precisions, Results, Same, absolute, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_batch, keyed_state, statistics_result, statistics_rows

NETWORKS = {"resnet50": "resnet50_v1", "vgg16": "vgg16"}
NAMES = ("l2", "l3", "l4")
"""Names of the scales, finest first."""
LIMIT = 59999
"""Entries of a correlation above which only every second support position is stored."""
GRADIENTS = {torch.float64: 1e-7, torch.float32: 5e-3}
CHANGES = {torch.float64: 1e-5, torch.float32: 5e-2}
"""Tolerances by the type that is computed in."""


def precisions(case: Case) -> Precisions:
    """Return the types that a case is checked in: float64, and float32 where rounding does not decide."""
    return {torch.float64: ""} if "float64 only" in case.entry["tolerance"] else DOUBLE_AND_SINGLE


def as_scales(maps: Sequence[Tensor], backbone: str) -> list[Tensor]:
    """Stack maps (b, C, h, w), shallow to deep, to the scales (b, L, C, h, w) of a pyramid."""
    remaining = iter(maps)
    return [torch.stack(list(islice(remaining, count)), 1) for count in PYRAMIDS[NETWORKS[backbone]].blocks[1:]]


def transform(
    dtype: torch.dtype, salt: str, backbone: str, batch: int, features: list[dict[str, int]], support_mask: Tensor
) -> Results:
    mask = support_mask.to(dtype)
    shapes = [(batch, f["channels"], f["side"], f["side"]) for f in features]
    made = [
        [(0.2 + hashed(f"{side}{i}", shape, salt)).float().to(dtype) for i, shape in enumerate(shapes)] for side in "qs"
    ]
    query, support = (as_scales(maps, backbone) for maps in made)
    names = [f"reference_layer{i}.weight" for i in (1, 2, 3)]
    blank = {name: torch.empty(2, scale.shape[2]) for name, scale in zip(names, query, strict=True)}
    anchors = {key: weight.to(dtype).requires_grad_() for key, weight in keyed_state(blank, salt).items()}
    rows = [patnet.scaled_rows(weight) for weight in anchors.values()]
    numbers = patnet.anchor_numbers([scale.shape[1] for scale in query], "index")
    stacks = [torch.stack([rows[number] for number in own]) for own in numbers]
    results: dict[str, Any] = {}
    for i, (q, s, row) in enumerate(zip(*made, [row for stack in stacks for row in stack], strict=True)):
        means = patnet.prototypes(s[:, None], mask)
        weights = resize_mask(mask, (s.shape[2], s.shape[3]))
        for name, x in (("query", q), ("support", s * weights[:, None])):
            k = patnet.coefficients(x[:, None].flatten(3), patnet.scaled_rows(means))[:, 0]
            results[f"mid.{name}_{i}"] = (row.mT.double() @ k).to(dtype).view(x.shape)
        results |= {f"mid.prototype_{name}_{i}": means[:, 0, place] for place, name in enumerate(("bg", "fg"))}
    scales = zip(query, support, stacks, strict=True)
    found = [patnet.AnchoredPair.between(q, s, mask).correlation(a).dense() for q, s, a in scales]
    loss = torch.stack([(x * hashed(f"w{2 - i}", x.shape, salt)).sum() for i, x in enumerate(found)]).sum()
    thinned = (x if x.numel() <= LIMIT else x[..., ::2, ::2] for x in found)
    return results | {
        "out.corr_": dict(zip(NAMES, thinned, strict=True)),
        "out.loss": loss[None],
        "grad.": {name: torch.zeros(1) for name in anchors} | n.gradients(loss, **anchors),
    }


def learner(dtype: torch.dtype, salt: str, batch: int, in_channels: list[int], sides: list[int]) -> Results:
    net = HyperpixelLearner(in_channels[::-1])
    net = n.loaded(net, keyed_state(net.state_dict(), salt, "hpn_learner.")).to(dtype)
    shapes = [(batch, channels, s, s, s, s) for channels, s in zip(in_channels, sides, strict=True)]
    logits = net([hashed(f"c{i}", shape, salt).float().clamp(min=0).to(dtype) for i, shape in enumerate(shapes)])
    loss = (logits * hashed("w", logits.shape, salt)).sum()
    taken = n.gradients(loss, net)
    return {"out.logits": logits, "out.loss": loss[None], "grad.": summaries(taken, GRADIENTS[dtype])}


def summaries(values: dict[str, Tensor], tol: float) -> Results:
    """Return the statistics of tensors by name."""
    return {name: statistics_result(x, name, tol) for name, x in values.items()}


def frozen_network(backbone: str, salt: str, dtype: torch.dtype) -> nn.Module:
    network = build_pyramid_network(PYRAMIDS[NETWORKS[backbone]])
    n.loaded(network, keyed_state(network.state_dict(), salt, "backbone."))
    return network.to(dtype).eval().requires_grad_(False)


class Given(PATNet):
    """PATNet with the weights of a case, in a type."""

    def __init__(self, backbone: str, salt: str, dtype: torch.dtype, **options: Any):
        super().__init__(BackboneConfig(NETWORKS[backbone], "random"), **options)
        n.loaded(self, keyed_state(self.state_dict(), salt)).to(dtype).train()
        self.kind, self.frozen = backbone, [frozen_network(backbone, salt, dtype)]  # no part of the method

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps (b, C, h, w), shallow to deep, of normalised images (b, 3, S, S)."""
        return list(block_features(self.frozen[0], images, PYRAMIDS[NETWORKS[self.kind]].blocks[0]))

    def encode_image(self, pixels: Tensor) -> Any:
        return tuple(scale[0] for scale in as_scales(self.maps(pixels[None]), self.kind))

    def support(self, image: Sequence[Tensor], mask: Tensor) -> Support:
        return super().support(image, mask.to(image[0].dtype))


@torch.no_grad()
def network(dtype: torch.dtype, backbone: str, salt: str, side: int, batch: int, shot: int) -> Results:
    query, support, truth, masks = keyed_batch(salt, side, batch, shot, dtype)
    method = Given(backbone, salt, dtype)
    maps = [method.maps(x) for x in (query, *support.unbind(1))]
    scales = [as_scales(own, backbone) for own in maps]
    shots = [method.segment(scales[0], method.support(own, masks[:, k])) for k, own in enumerate(scales[1:])]
    logits = [method.resize(one, (side, side)) for one in shots]
    near = torch.stack([(x[:, 1] - x[:, 0]).abs() < 1e-6 * float(x.abs().max()) for x in logits]).any(0)
    names = [f"feature{i}" for i in range(len(maps[0]))]
    labels = torch.stack([vote(Shot(x[i], None) for x in logits).foreground for i in range(batch)])
    return {
        "mid.feature_shape": [list(m.shape) for m in maps[0]],
        "mid.feature_stats": statistics_rows(maps[0], names, GRADIENTS[dtype]),
        "out.logits": torch.stack(logits, 1)[..., ::4, ::4],
        "out.pred": Clear(labels, ~near),
        "out.finetune_kl": tuning_loss(maps, truth.to(dtype), masks.to(dtype))[None],
    }


def first_prototypes(maps: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Return the foreground prototypes (b, C) of the first maps (b, C, h, w) by a mask (b, S, S), maybe soft."""
    return patnet.foreground_prototypes(list(patnet.first_maps([m[:, None] for m in maps])), mask)


def tuning_loss(maps: Sequence[Sequence[Tensor]], query_mask: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of fine-tuning, the mean over the shots (§6).

    Args:
        maps: of the queries and of each shot (b, C, h, w), shallow to deep.
        query_mask: (b, S, S), may be soft.
        masks: (b, K, S, S).
    """
    query, *shots = map(first_prototypes, maps, (query_mask, *masks.unbind(1)))
    return torch.stack([patnet.divergence(query, shot) for shot in shots]).mean()


def finetune(dtype: torch.dtype, backbone: str, salt: str, side: int, batch: int, shot: int = 1) -> Results:
    query, support, _, masks = keyed_batch(salt, side, batch, shot, dtype)
    maps = [Given(backbone, salt, dtype).maps(x) for x in (query, *support.unbind(1))]
    soft = (2 * hashed("soft", (batch, side, side), salt)).to(dtype).requires_grad_()
    found = first_prototypes(maps[0], soft.sigmoid())
    loss = tuning_loss(maps, soft.sigmoid(), masks.to(dtype))
    return {
        "mid.prototype_query_": {
            i: statistics_result(x, f"prototype{i}", GRADIENTS[dtype]) for i, x in enumerate(found)
        },
        "out.kl": loss[None],
        "grad.soft_logits": n.gradients(loss, soft=soft)["soft"][:, ::4, ::4],
    }


def train_step(
    case: Case,
    dtype: torch.dtype,
    backbone: str,
    salt: str,
    side: int,
    batch: int,
    lr: float,
    steps: int,
    shot: int = 1,
) -> Parts:
    """Steps of the method's own loss and optimiser."""
    method = Given(backbone, salt, dtype, learning_rate=lr)
    optimizer, start, losses = method.configure_optimizers(), n.copies(method), []
    seen: dict[str, Tensor] = {}
    n.record_outputs(seen, logits=method.hpn_learner)
    for step in range(steps):
        query, support, truth, masks = keyed_batch(f"{salt}{step}/", side, batch, shot, dtype)
        loss = method.batch_loss(training_batch(query, support, masks, truth))["loss"]
        losses.append(loss.detach())
        found = n.optimizer_step(optimizer, loss, method)
        full = method.resize(seen["logits"], (side, side))
        yield {f"out.step{step}.": counted(full[:, 1] > full[:, 0], truth)}
        yield {f"grad.step{step}.": summaries(found, GRADIENTS[dtype])}
    moved = n.changes(method, start)
    still = sorted(moved.keys() - found)
    yield {
        "out.loss": torch.stack(losses),
        "without gradient": Same(still, sorted(case.entry["without_gradient"])),
        "out.delta.": summaries({name: x for name, x in moved.items() if name not in still}, CHANGES[dtype]),
    }


def counted(labels: Tensor, truth: Tensor) -> Results:
    """Return intersections and unions (2, b) of background and foreground."""
    pairs = [(labels == foreground, truth == foreground) for foreground in (False, True)]
    return {
        "intersection": [(a & b).sum((1, 2)).tolist() for a, b in pairs],
        "union": [(a | b).sum((1, 2)).tolist() for a, b in pairs],
    }


def layout(case: Case, backbone: str) -> Results:
    spec = PYRAMIDS[NETWORKS[backbone]]
    method = PATNet(BackboneConfig(NETWORKS[backbone], "random"))
    with torch.device("meta"):
        frozen = build_pyramid_network(spec)
    classifier = ("backbone.fc.", "backbone.classifier.")
    stored = {key: shape for key, shape in case.data["keys"].items() if not key.startswith(classifier)}
    own = {f"backbone.{key}": shape for key, shape in n.shapes(frozen).items()} | n.shapes(method)
    counts = spec.blocks[1:][::-1]
    return {
        "names and shapes": Same(list(own.items()), list(stored.items())),
        "learner": sum(p.numel() for p in method.parameters()),
        "stack_ids": [sum(counts[: i + 1]) for i in range(len(counts))],
        "backbone_without_classifier": sum(v.numel() for v in frozen.state_dict().values()),
    }


def epoch_seeds(case: Case, items: int, epochs: int) -> Results:
    found = []
    for epoch, stored in enumerate(case.data):
        seed = epoch_seed(epoch, 0)
        rng, few = np.random.RandomState(seed), len(stored["first_draws"])
        first = item_order(items, seed)[: len(stored["first_items"])]
        draws = [draw(rng, range(1000)) for _ in range(few)]
        found.append({"seed": seed, "first_items": first, "first_draws": draws})
    return {"epochs": Same(found, case.data[:epochs])}


def init(seed: int, channels: list[int]) -> Results:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Linear] = [patnet.anchor_layer(width) for width in channels]
    return {f"out.reference_layer{3 - i}.weight": layer.weight for i, layer in enumerate(layers)}


SINGLE = DOUBLE_AND_SINGLE[torch.float32]
VALUES: dict[str, Any] = {
    "": relative(1e-8),
    f"*{SINGLE}": relative(1e-4),
    "grad.": relative(1e-7),
    f"grad.*{SINGLE}": relative(5e-3),
}
KINDS = {
    "patnet_transform": Kind(transform, VALUES, precisions=precisions),
    "patnet_learner": Kind(learner, VALUES, precisions=precisions),
    "patnet_forward": Kind(network, VALUES | {f"out.finetune_kl*{SINGLE}": relative(1e-2)}, precisions=precisions),
    "patnet_train_step": Kind(train_step, VALUES | {"out.step": absolute(0)}, precisions=precisions),
    "patnet_finetune": Kind(finetune, VALUES, precisions=precisions),
    "patnet_layout": Kind(layout),
    "patnet_epoch_seeds": Kind(epoch_seeds),
    "patnet_init": Kind(init, {"": absolute(1e-6)}),
}
