"""PATNet: anchor transformation, learner, whole network, training, fine-tuning, layout, draws (patnet.md)."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.core.shot_ensemble import combine
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from fsbench.methods.hsnet.patnet import (
    AnchoredPair,
    PATNet,
    anchor_layer,
    anchor_numbers,
    coefficients,
    divergence,
    first_maps,
    foreground_prototypes,
    prototypes,
    scaled_rows,
)
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS, Pyramid, block_features, build_pyramid_network
from fsbench.networks.ops.kept_correlation import resize_mask
from fsbench.protocols.draws.hsnet import draw
from fsbench.protocols.draws.patnet import epoch_seed, item_order
from tests.goldens.harness import Case, Clear, Kind, Parts, Result, Results, Same, Tolerance, absolute, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_image, keyed_mask, keyed_state, statistics, statistics_result
from tests.goldens.networks import changes, copies, gradients, optimizer_step

resize = partial(F.interpolate, mode="bilinear", align_corners=True)

NETWORKS = {"resnet50": "resnet50_v1", "vgg16": "vgg16"}
NAMES = ("l2", "l3", "l4")
"""Names of the scales, finest first."""
LIMIT = 59999
"""Entries of a correlation above which only every second support position is stored."""
SINGLE = "in float32"
GRADIENTS = {torch.float64: 1e-7, torch.float32: 5e-3}
CHANGES = {torch.float64: 1e-5, torch.float32: 5e-2}
"""Tolerances by the type that is computed in."""


def types_of(case: Case) -> list[torch.dtype]:
    """Return the types that a case is checked in: float64, and float32 where rounding does not decide."""
    return [torch.float64] + ([] if "float64 only" in case.entry["tolerance"] else [torch.float32])


def noted(results: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Mark the tensors among results that were computed in float32."""
    if dtype == torch.float64:
        return dict(results)
    return {name: Result(x, note=SINGLE) if isinstance(x, Tensor) else x for name, x in results.items()}


VALUES: dict[str, Any] = {
    "": relative(1e-8),
    f"*{SINGLE}": relative(1e-4),
    "grad.": relative(1e-7),
    f"grad.*{SINGLE}": relative(5e-3),
}


def as_scales(maps: Sequence[Tensor], backbone: str) -> list[Tensor]:
    """Stack maps (b, C, h, w), shallow to deep, to the scales (b, L, C, h, w) of a pyramid."""
    remaining = iter(maps)
    return [torch.stack(list(islice(remaining, count)), 1) for count in PYRAMIDS[NETWORKS[backbone]].blocks[1:]]


def transform(case: Case) -> Parts:
    for dtype in types_of(case):
        yield noted(_transformed(case, dtype), dtype)


def _transformed(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, salt = case.config, case.config["salt"]
    mask = case.tensors["in.support_mask"].to(dtype)
    made = {
        side: [
            (0.2 + hashed(f"{side}{i}", (c["batch"], f["channels"], f["side"], f["side"]), salt)).float().to(dtype)
            for i, f in enumerate(c["features"])
        ]
        for side in "qs"
    }
    query, support = (as_scales(made[side], c["backbone"]) for side in "qs")
    widths = [scale.shape[2] for scale in query]
    anchors = {f"reference_layer{i}.weight": torch.empty(2, width) for i, width in enumerate(widths, 1)}
    anchors = {key: w.to(dtype).requires_grad_() for key, w in keyed_state(anchors, salt).items()}
    numbers = anchor_numbers([scale.shape[1] for scale in query], "index")
    rows = [scaled_rows(w) for w in anchors.values()]
    stacks = [torch.stack([rows[number] for number in own]) for own in numbers]
    results: dict[str, Any] = {}
    maps = zip(made["q"], made["s"], [row for stack in stacks for row in stack], strict=True)
    for i, (q, s, row) in enumerate(maps):
        means = prototypes(s[:, None], mask)
        weights = resize_mask(mask, (s.shape[2], s.shape[3]))
        for name, x in (("query", q), ("support", s * weights[:, None])):
            k = coefficients(x[:, None].flatten(3), scaled_rows(means))[:, 0]
            results[f"mid.{name}_{i}"] = (row.mT.double() @ k).to(dtype).view(x.shape)
        results |= {f"mid.prototype_{name}_{i}": means[:, 0, place] for place, name in enumerate(("bg", "fg"))}
    found = [
        AnchoredPair.between(q, s, mask).correlation(a).dense() for q, s, a in zip(query, support, stacks, strict=True)
    ]
    probes = [(x * hashed(f"w{2 - i}", x.shape, salt)).sum() for i, x in enumerate(found)]
    loss = torch.stack(probes).sum()
    missing = {f"grad.{name}": torch.zeros(1) for name in anchors}
    results |= {f"out.corr_{name}": _thinned(x) for name, x in zip(NAMES, found, strict=True)}
    return (
        results | {"out.loss": loss[None]} | missing | {f"grad.{n}": g for n, g in gradients(loss, **anchors).items()}
    )


def _thinned(x: Tensor) -> Tensor:
    return x if x.numel() <= LIMIT else x[..., ::2, ::2]


def learner(case: Case) -> Parts:
    c, salt = case.config, case.config["salt"]
    for dtype in types_of(case):
        net = HyperpixelLearner(c["in_channels"][::-1])
        net.load_state_dict(keyed_state(net.state_dict(), salt, "hpn_learner."))
        net.to(dtype)
        shapes = [(c["batch"], n, s, s, s, s) for n, s in zip(c["in_channels"], c["sides"], strict=True)]
        inputs = [hashed(f"c{i}", shape, salt).float().clamp(min=0).to(dtype) for i, shape in enumerate(shapes)]
        logits = net(inputs)
        loss = (logits * hashed("w", logits.shape, salt)).sum()
        found = {f"grad.{name}": statistics_of(g, name, dtype) for name, g in gradients(loss, net).items()}
        yield noted({"out.logits": logits, "out.loss": loss[None]}, dtype) | found


def statistics_of(gradient: Tensor, name: str, dtype: torch.dtype) -> Result:
    """Return the statistics of a gradient, held to the tolerance of the type it was computed in."""
    return statistics_result(gradient, name, GRADIENTS[dtype], "" if dtype == torch.float64 else SINGLE)


def backbone_maps(backbone: str, salt: str, images: Tensor) -> list[Tensor]:
    """Return the maps (b, C, h, w), shallow to deep, of normalised images (b, 3, S, S) in their type."""
    spec = PYRAMIDS[NETWORKS[backbone]]
    network = build_pyramid_network(spec)
    network.load_state_dict(keyed_state(network.state_dict(), salt, "backbone."))
    network.to(images.dtype).eval().requires_grad_(False)
    return block_features(network, images, spec.blocks[0])


class Given(PATNet):
    """PATNet on features that are given, in their type.

    Args:
        case: a case of a whole network.
        dtype: the type.
        **options: of the method.
    """

    def __init__(self, case: Case, dtype: torch.dtype, **options: Any):
        super().__init__(BackboneConfig(NETWORKS[case.config["backbone"]], "random"), **options)
        self.load_state_dict(keyed_state(self.state_dict(), case.config["salt"]))
        self.to(dtype).train()
        self.wide = dtype
        self.pyramids: dict[str, Pyramid] = {}

    def give(self, names: Sequence[str], scales: Sequence[Tensor]) -> None:
        """Give the features (b, L, C, h, w) of the images of these names."""
        self.pyramids |= {name: tuple(scale[i] for scale in scales) for i, name in enumerate(names)}

    def pyramid(self, episode: EpisodeBatch, row: int) -> Pyramid:
        return self.pyramids[episode.image_names[row]]

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        return super().logits(query, support, masks.to(self.wide), episodes)


def keyed_batch(case: Case, prefix: str = "") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries (b, 3, S, S), supports (b, K, 3, S, S) and the masks (b, S, S) and (b, K, S, S) of a case."""
    c = case.config
    salt, side, shots = c["salt"] + prefix, c["side"], range(c.get("shot", 1))
    items = range(c["batch"])
    query = torch.stack([keyed_image(f"{salt}q{i}", side, side) for i in items])
    support = [torch.stack([keyed_image(f"{salt}s{i}.{k}", side, side) for k in shots]) for i in items]
    masks = [torch.stack([keyed_mask(10 * i + k + 1, side, side) for k in shots]) for i in items]
    truth = torch.stack([keyed_mask(10 * i, side, side) for i in items])
    return query, torch.stack(support), truth, torch.stack(masks)


def network(case: Case) -> Parts:
    for dtype in types_of(case):
        yield _answers(case, dtype)


@torch.no_grad()
def _answers(case: Case, dtype: torch.dtype) -> Results:
    c = case.config
    query, support, truth, masks = keyed_batch(case)
    maps = [backbone_maps(c["backbone"], c["salt"], x.to(dtype)) for x in (query, *support.unbind(1))]
    method, scales = Given(case, dtype), [as_scales(own, c["backbone"]) for own in maps]
    shots = [
        method.logits(scales[0], [s[:, None] for s in own], masks[:, [k]], torch.zeros(len(query)))
        for k, own in enumerate(scales[1:])
    ]
    logits = [resize(shot, (c["side"], c["side"])) for shot in shots]
    near = torch.stack([(x[:, 1] - x[:, 0]).abs() < 1e-6 * float(x.abs().max()) for x in logits]).any(0)
    if c["shot"] > 1:
        labels = torch.stack([combine([x[[i]] for x in logits], "hsnet_vote").foreground[0] for i in range(len(query))])
    else:
        labels = logits[0][:, 1] > logits[0][:, 0]
    found = _kl([list(own) for own in maps], truth.to(dtype), masks.to(dtype))
    shown = torch.stack([statistics(m, f"feature{i}") for i, m in enumerate(maps[0])])
    numel = torch.tensor([m.numel() for m in maps[0]]).double()
    return {
        "mid.feature_shape": torch.tensor([list(m.shape) for m in maps[0]]),
        "mid.feature_stats": Result(shown, note=_note(dtype), tolerance=_rows(GRADIENTS[dtype], numel)),
        "out.logits": Result(torch.stack(logits, 1)[..., ::4, ::4], note=_note(dtype)),
        "out.pred": Clear(labels, ~near),
        "out.finetune_kl": Result(found[None], note=_note(dtype)),
    }


def _note(dtype: torch.dtype) -> str:
    return "" if dtype == torch.float64 else SINGLE


def _rows(tol: float, numel: Tensor) -> Tolerance:
    """Hold rows of statistics to `tol` times their norm, and the products to that times the root of their terms."""

    def bound(ref: Tensor) -> Tensor:
        allowed = tol * ref[:, :1].expand(ref.shape).clone()
        allowed[:, 1] *= numel.sqrt()
        return allowed

    return Tolerance(f"{tol:g}*l2", bound)


def _kl(maps: Sequence[Sequence[Tensor]], query_mask: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of fine-tuning, the mean over the shots (§6).

    Args:
        maps: of the queries and of each shot (b, C, h, w), shallow to deep.
        query_mask: (b, S, S), may be soft.
        masks: (b, K, S, S).
    """
    first = [list(first_maps([m[:, None] for m in own])) for own in maps]
    query = foreground_prototypes(first[0], query_mask)
    shots = [foreground_prototypes(own, masks[:, k]) for k, own in enumerate(first[1:])]
    return torch.stack([divergence(query, shot) for shot in shots]).mean()


def finetune(case: Case) -> Parts:
    c = case.config
    for dtype in types_of(case):
        query, support, _, masks = keyed_batch(case)
        maps = [backbone_maps(c["backbone"], c["salt"], x.to(dtype)) for x in (query, *support.unbind(1))]
        soft = (2 * hashed("soft", (c["batch"], c["side"], c["side"]), c["salt"])).to(dtype).requires_grad_()
        first = list(first_maps([m[:, None] for m in maps[0]]))
        found = foreground_prototypes(first, soft.sigmoid())
        shown = {f"mid.prototype_query_{i}": statistics_of(x, f"prototype{i}", dtype) for i, x in enumerate(found)}
        loss = _kl(maps, soft.sigmoid(), masks.to(dtype))
        grad = gradients(loss, soft=soft)["soft"]
        yield noted({"out.kl": loss[None], "grad.soft_logits": grad[:, ::4, ::4]}, dtype) | shown


def train_step(case: Case) -> Parts:
    for dtype in types_of(case):
        yield from _steps(case, dtype)


def _steps(case: Case, dtype: torch.dtype) -> Parts:
    """Steps of the method's own loss and optimiser."""
    c = case.config
    method = Given(case, dtype, learning_rate=c["lr"])
    optimizer, start, losses = method.configure_optimizers(), copies(method), []
    for step in range(c["steps"]):
        query, support, truth, masks = keyed_batch(case, f"{step}/")
        batch = _batch(query, support, truth, masks)
        images = torch.cat([query, support[:, 0]]).to(dtype)
        method.give(batch.image_names, as_scales(backbone_maps(c["backbone"], c["salt"], images), c["backbone"]))
        rows = [[x[n : n + len(query)] for x in map(torch.stack, zip(*method.pyramids.values(), strict=True))]
                for n in (0, len(query))]  # fmt: skip
        with torch.no_grad():
            logits = method.logits(rows[0], [x[:, None] for x in rows[1]], masks, batch.episodes)
        full = resize(logits, (c["side"], c["side"]))
        yield _counted(full[:, 1] > full[:, 0], truth, step)
        loss = method.batch_loss(batch)["loss"]
        losses.append(loss.detach())
        found = optimizer_step(optimizer, loss, method)
        yield {f"grad.step{step}.{name}": statistics_of(g, name, dtype) for name, g in found.items()}
    moved, note = changes(method, start), _note(dtype)
    still = sorted(moved.keys() - found)
    yield {
        "out.loss": Result(torch.stack(losses), note=note),
        "without gradient": Same(still, sorted(case.entry["without_gradient"])),
        "out.delta.": {
            name: statistics_result(change, name, CHANGES[dtype], note)
            for name, change in moved.items()
            if name not in still
        },
    }


def _counted(labels: Tensor, truth: Tensor, step: int) -> Results:
    """Return intersections and unions (2, b) of background and foreground."""
    pairs = [(labels == foreground, truth == foreground) for foreground in (False, True)]
    return {
        f"out.step{step}.intersection": torch.stack([(a & b).sum((1, 2)) for a, b in pairs]),
        f"out.step{step}.union": torch.stack([(a | b).sum((1, 2)) for a, b in pairs]),
    }


def _batch(query: Tensor, support: Tensor, truth: Tensor, masks: Tensor) -> EpisodeBatch:
    """Return a training batch with these masks; its images are numbers of rows, whose features are given."""
    count = len(query)
    rows = torch.arange(2 * count)
    return EpisodeBatch(
        images=torch.zeros(2 * count, 3, 1, 1, dtype=torch.uint8),
        image_names=[str(row) for row in rows.tolist()],
        query=rows[:count],
        support=rows[count:, None, None],
        support_labels=masks[:, None].to(torch.uint8),
        valid=torch.ones(count, 1, 1, dtype=torch.bool),
        query_sizes=torch.tensor([truth.shape[1:]] * count),
        episodes=torch.arange(count),
        truth=Truth(list(truth.to(torch.uint8)), torch.ones(count, 1, dtype=torch.bool), torch.ones(count, 1).long()),
    )


def layout(case: Case) -> Results:
    backbone = case.config["backbone"]
    spec = PYRAMIDS[NETWORKS[backbone]]
    method = PATNet(BackboneConfig(NETWORKS[backbone], "random"))
    with torch.device("meta"):
        frozen = build_pyramid_network(spec)
    stored = {key: shape for key, shape in case.data["keys"].items() if not _in_classifier(key)}
    own = {f"backbone.{key}": value for key, value in frozen.state_dict().items()} | method.state_dict()
    counts = spec.blocks[1:][::-1]
    return {
        "names and shapes": Same([(k, list(v.shape)) for k, v in own.items()], list(stored.items())),
        "learner": sum(p.numel() for p in method.parameters()),
        "stack_ids": [sum(counts[: i + 1]) for i in range(len(counts))],
        "backbone_without_classifier": sum(v.numel() for v in frozen.state_dict().values()),
    }


def _in_classifier(key: str) -> bool:
    return key.startswith(("backbone.fc.", "backbone.classifier."))


def epoch_seeds(case: Case) -> Results:
    c = case.config
    found = []
    for epoch, stored in enumerate(case.data):
        seed = epoch_seed(epoch, 0)
        rng, few = np.random.RandomState(seed), len(stored["first_draws"])
        found.append({
            "seed": seed,
            "first_items": item_order(c["items"], seed)[: len(stored["first_items"])],
            "first_draws": [draw(rng, range(1000)) for _ in range(few)],
        })  # fmt: skip
    return {"epochs": Same(found, case.data[: c["epochs"]])}


def init(case: Case) -> Results:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.config["seed"])
        layers: list[nn.Linear] = [anchor_layer(channels) for channels in case.config["channels"]]
    return {f"out.reference_layer{3 - i}.weight": layer.weight for i, layer in enumerate(layers)}


KINDS = {
    "patnet_transform": Kind(transform, VALUES),
    "patnet_learner": Kind(learner, VALUES),
    "patnet_forward": Kind(network, VALUES | {f"out.finetune_kl*{SINGLE}": relative(1e-2)}),
    "patnet_train_step": Kind(train_step, VALUES | {"out.step": absolute(0)}),
    "patnet_finetune": Kind(finetune, VALUES),
    "patnet_layout": Kind(layout),
    "patnet_epoch_seeds": Kind(epoch_seeds),
    "patnet_init": Kind(init, {"": absolute(1e-6)}),
}
