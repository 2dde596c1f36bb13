"""ABCDFSS: views, losses, fitting, comparison, threshold, the loop of the test, its draws and layout (abcdfss.md)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import EpisodeBatch, HiddenTruth, Opening, WayClass
from fsbench.methods.abcdfss import ABCDFSS
from fsbench.methods.abcdfss.abcdfss import Image, Labelled, attended_mask, enlarged, otsu_threshold, resized, threshold
from fsbench.methods.abcdfss.draws import LARGEST_SHEAR, Shear, class_shears, views
from fsbench.methods.abcdfss.head import (
    AdaptedHead,
    LevelViews,
    contrast,
    fit,
    moment_distance,
    prototype_loss,
    small_masks,
)
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS, Pyramid, block_features, build_pyramid_network
from fsbench.protocols.episode_rules.hsnet import draw
from tests.goldens.cases import Case
from tests.goldens.declared import DOUBLE_AND_SINGLE, Clear, Kind, Parts, Result, Results, Same, absolute, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_image, keyed_mask, keyed_state, statistics_result
from tests.goldens.networks import gradients

SINGLE = DOUBLE_AND_SINGLE[torch.float32]
BACKBONE = "resnet50_v2"


def offset(start: float, factor: float, key: str, shape: Sequence[int], salt: str) -> Tensor:
    """Return a hash's numbers with a factor and an offset, rounded to float32."""
    return (start + factor * hashed(key, shape, salt)).float()


def affine(case: Case) -> Results:
    c, salt = case.config, case.config["salt"]
    dtype = getattr(torch, c["dtype"])
    shears, side = [Shear(*angles) for angles in c["shears"]], c["side"]
    mask = views(keyed_mask(3, side, side).to(dtype), shears)
    results = {
        "out.images": views(keyed_image(f"{salt}img", side, side).to(dtype), shears)[None],
        "out.masks": mask[None],
    }
    for i, small in enumerate(c["feature_sides"]):
        x = hashed(f"f{i}", (2, 3, small, small), salt).float().to(dtype)
        results[f"out.features_{i}"] = views(x, shears).transpose(0, 1)
        results[f"out.masks_down_{i}"] = small_masks(mask, (small, small))
    return results


def losses(case: Case, dtype: torch.dtype, shot: int, views: int, channels: int, side: int) -> Results:
    c, salt, shape = case.config, case.config["salt"], (shot * views, channels, side, side)
    masks, start = case.tensors["in.masks"].to(dtype), offset(0.1, 1, "a", shape, salt)
    given = {"a": start.to(dtype), "b": start.to(dtype) + offset(0.05, 0.6, "b", shape, salt).to(dtype)}
    terms = {
        "nce": lambda a, b: contrast(a, b, c["temperature"]),
        "keepvar": moment_distance,
        "proto": lambda a, b: prototype_loss(a, b, masks, views),
    }
    found: dict[str, Any] = {}
    for term, function in terms.items():
        leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
        loss = function(*(F.normalize(x, dim=1, eps=1e-12) for x in leaves.values()))
        found[f"out.{term}"] = loss[None]
        found |= {f"grad.{term}.{name}": shown(g, term + name, dtype) for name, g in gradients(loss, **leaves).items()}
    return found


def shown(x: Tensor, name: str, dtype: torch.dtype, single: float = 1e-4) -> Result:
    """Return the statistics of a tensor of this name, held to the tolerance of its type."""
    return statistics_result(x, name, single if dtype == torch.float32 else 1e-7)


def keyed_head(channels: int, width: int, salt: str, prefix: str) -> AdaptedHead:
    """Return a head with weights by the hash, float32."""
    head = AdaptedHead(channels, width)
    head.load_state_dict(keyed_state(head.state_dict(), salt, prefix))
    return head


def fitting(case: Case, dtype: torch.dtype, in_channels: int, side: int, shot: int, views: int) -> Results:
    c, salt = case.config, case.config["salt"]
    plane, rows = (in_channels, side, side), shot * views
    q = offset(0.3, 1, "q", (views, *plane), salt).to(dtype)
    s = offset(0.3, 1, "s", (rows, *plane), salt).to(dtype)
    q_view, s_view = (x + offset(0, 0.5, f"{name}a", x.shape, salt).to(dtype) for name, x in (("q", q), ("s", s)))
    masks = torch.stack([keyed_mask(i, 40, 40) for i in range(rows)]).to(dtype)
    level = LevelViews((q, q_view), (s, s_view), small_masks(masks, plane[1:]))
    head = keyed_head(in_channels, c["out_channels"], salt, "head/").to(dtype)
    found = fit(head, level, c["epochs"], c["lr"], c["temperature"])
    state = {name: x.clone() for name, x in head.state_dict().items()}
    forward = head(hashed("x", (2, *plane), salt).float().to(dtype))
    return {"out.losses": found, "out.": state, "out.forward": forward}


def comparison(case: Case, dtype: torch.dtype, side: int, shot: int) -> Results:
    c, salt = case.config, case.config["salt"]
    masks, maps = torch.stack([keyed_mask(k, side, side) for k in range(shot)]), []
    for i, small in enumerate(c["sides"]):
        plane = (c["channels"], small, small)
        q, s = offset(0, 2, f"q{i}", (1, *plane), salt), offset(0, 2, f"s{i}", (1, shot, *plane), salt)
        maps.append(attended_mask(q[0].to(dtype), s[0].to(dtype), masks))
    levels = enlarged(maps)
    return {"mid.levels": levels[None], "out.logits": resized(levels.mean(0), (side, side))[None]}


def thresholds(case: Case) -> Parts:
    for i in range(case.config["maps"]):
        values = case.tensors[f"in.logits_{i}"][0]
        limit = threshold(values)
        yield {
            f"out.otsu_{i}": torch.tensor([otsu_threshold(values)]),
            f"out.threshold_{i}": limit[None],
            f"out.pred_{i}": Clear((values > limit)[None], ((values - limit).abs() >= 1e-6)[None]),
        }


class Given(ABCDFSS):
    """ABCDFSS with a network, heads and shears by a case, in a type.

    Args:
        case: a case of a whole run.
        dtype: the type.
    """

    def __init__(self, case: Case, dtype: torch.dtype):
        c = case.config
        adapt_to = "every_episode" if c.get("fit_every_episode") else "first_episode"
        super().__init__(
            BackboneConfig(BACKBONE, "random"), adapt_to, c["epochs"], c["lr"], temperature=c["temperature"]
        )
        self.salt, self.wide = c["salt"], dtype
        shears = c["shears"] if isinstance(c["shears"], dict) else {"0": c["shears"]}
        self.by_class = [[Shear(*angles) for angles in own] for own in shears.values()]
        spec = PYRAMIDS[BACKBONE]
        self.net = build_pyramid_network(spec)
        self.net.load_state_dict(keyed_state(self.net.state_dict(), self.salt))
        self.net.to(dtype).eval().requires_grad_(False)

    def pyramid(self, pixels: Tensor) -> Pyramid:
        maps = block_features(self.net, pixels[None].to(self.wide), 3)
        return tuple(torch.stack([m[0] for m in maps[start:stop]]) for start, stop in ((0, 4), (4, 10), (10, 13)))

    def first_heads(self, turns: int, sets: int, shots: int) -> list[AdaptedHead]:
        channels = self.draws.channels
        return [keyed_head(c, 64, self.salt, f"head{i}/").to(self.wide) for i, c in enumerate(channels)]

    def shears(self) -> list[Shear]:
        return self.by_class[self.way_class.place]

    def only_way(self, episode: EpisodeBatch) -> tuple[Image, list[Labelled]]:
        """Return query and supports of an episode of one way, which is answered then."""
        assert episode.way_classes is not None
        self.way_class = episode.way_classes[0][0]
        query, (supports,) = self.ask(episode)
        return query, list(supports)


class KeyedEpisode(EpisodeBatch):
    """An episode whose images are normalised and not of 256 values."""

    pictures: Tensor

    @property
    def image_keys(self) -> list[str]:
        return self.image_names

    def pixels(self, row: int) -> Tensor:
        return self.pictures[row]

    def way(self, number: int) -> "KeyedEpisode":
        part: KeyedEpisode = super().way(number)  # type: ignore[assignment]
        part.pictures = self.pictures
        return part


def keyed_episode(case: Case, number: int) -> KeyedEpisode:
    """Return the episode `number` of a case, without its class."""
    c = case.config
    side, shots, salt = c["side"], c["shot"], c["salt"]
    keys = [f"{salt}q{number}", *(f"{salt}s{number}.{k}" for k in range(shots))]
    masks = torch.stack([keyed_mask(5 * number + k + 1, side, side) for k in range(shots)])
    episode = KeyedEpisode(
        images=torch.zeros(1 + shots, 3, 1, 1, dtype=torch.uint8),
        image_names=keys,
        query=torch.tensor([0]),
        support=torch.arange(1, shots + 1)[None, None],
        support_labels=masks[None, None].to(torch.uint8),
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[side, side]]),
        episodes=torch.tensor([number]),
        truth=HiddenTruth(),
    )
    episode.pictures = torch.stack([keyed_image(key, side, side) for key in keys])
    return episode


def episodes(case: Case) -> Iterator[KeyedEpisode]:
    """Yield the episodes of a run, each with the first of its class."""
    first: dict[int, KeyedEpisode] = {}
    for number, class_number in enumerate(case.config.get("classes", [0])):
        episode = keyed_episode(case, number)
        opening = Opening(first.setdefault(class_number, episode), 0, 1, list(first).index(class_number))
        episode.way_classes = [[WayClass(class_number, opening)]]
        yield episode


def adapted_maps(
    query: Image, supports: Sequence[Labelled], heads: Sequence[AdaptedHead]
) -> list[tuple[Tensor, Tensor]]:
    """Return the adapted features (1, C, h, w) and (1, K, C, h, w) of each level."""
    levels = zip(heads, query.levels, *(one.image.levels for one in supports), strict=True)
    return [(head(q[None]), head(torch.stack(s))[None]) for head, q, *s in levels]


def adapt(case: Case, dtype: torch.dtype, side: int) -> Parts:
    single = 1e-3
    method = Given(case, dtype)
    for e, episode in enumerate(episodes(case)):
        query, supports = method.only_way(episode)
        heads = method.heads(query, supports)
        for i, (q, s) in enumerate(adapted_maps(query, supports, heads), 3):
            parts = {f"query_{i}_{e}": (q, f"query{i}"), f"support_{i}_{e}": (s, f"support{i}")}
            yield {f"mid.{key}": shown(x, name, dtype, single) for key, (x, name) in parts.items()}
        for i, head in enumerate(heads):
            yield {f"mid.head{i}_{e}.{name}": shown(p, name, dtype, single) for name, p in head.named_parameters()}
        prediction = method(episode)
        values = resized(method.segment(query, supports).logits[0, 1], (side, side))
        found, truth = prediction.label_map == 1, keyed_mask(5 * e, side, side)
        nearness = single * float(values.abs().max()) if dtype == torch.float32 else 1e-7
        areas = [[(found == own) & (truth == own), (found == own) | (truth == own)] for own in (False, True)]
        yield {
            f"out.logits_{e}": values[None, ::2, ::2],
            f"out.threshold_{e}": threshold(values)[None],
            f"out.pred_{e}": Clear(found[None], (prediction.logits[0, 1].abs() >= nearness)[None]),
            f"out.intersection_{e}": torch.stack([a[0].sum() for a in areas])[:, None],
            f"out.union_{e}": torch.stack([a[1].sum() for a in areas])[:, None],
        }


def pseudo(case: Case, dtype: torch.dtype, side: int, shot: int) -> Results:
    """Pseudo-episode: supports as queries, their views as supports; the list of levels has lost three more (§8)."""
    method = Given(case, dtype)
    (episode,) = episodes(case)
    query, supports = method.only_way(episode)
    heads = method.heads(query, supports)
    maps = adapted_maps(query, supports, heads)
    level_views = method.level_views(query, supports)
    sheared = [head(level.support[1]).unflatten(0, (shot, -1)) for head, level in zip(heads, level_views, strict=True)]
    own = episode.support_masks[0, 0]
    masks = views(own.to(dtype), method.shears()).transpose(0, 1)
    by_shot = [
        enlarged([attended_mask(s[0, k], v[k], masks[k]) for (_, s), v in zip(maps[3:], sheared[3:], strict=True)])
        for k in range(shot)
    ]
    whole = torch.stack([resized(levels.mean(0), (side, side)) for levels in by_shot])
    limits = torch.stack([threshold(x) for x in whole])
    found = whole > limits[:, None, None]
    ious = ((found & own).sum((1, 2)) + 1e-8) / ((found | own).sum((1, 2)) + 1e-8)
    return {
        "mid.levels": torch.stack(by_shot),
        "out.maps": whole[:, ::2, ::2],
        "out.thresholds": limits,
        "out.iou": ious,
    }


def draws(case: Case) -> Results:
    c = case.config
    method = ABCDFSS(BackboneConfig(BACKBONE, "random"))
    shears = class_shears(c["classes"], 2, 2)
    heads = method.draws.heads(0, 0, c["shot"])
    values = {
        f"out.head{i}.{name}": p.flatten()[:8]
        for i, head in enumerate(heads)
        for name, p in head.named_parameters()
        if not name.startswith("bn.")
    }
    rng = np.random.RandomState(2)
    return values | {
        "shears": Same([[list(s) for s in own] for own in shears], list(case.entry["shears"].values())),
        "first_numpy": Same([draw(rng, range(1000)) for _ in range(1 + c["shot"])], case.entry["first_numpy"]),
    }


def layout(case: Case) -> Results:
    method = ABCDFSS(BackboneConfig(BACKBONE, "random"))
    heads = method.draws.heads(0, 0, 1)
    optimizer = torch.optim.SGD(heads[0].parameters(), method.learning_rate)
    defaults = {
        "epochs": method.epochs,
        "lr": method.learning_rate,
        "momentum": optimizer.defaults["momentum"],
        "weight_decay": optimizer.defaults["weight_decay"],
        "out_channels": heads[0].linear.out_channels,
        "temperature": method.temperature,
        "views": method.views,
        "max_shear": LARGEST_SHEAR,
        "l0": PYRAMIDS[BACKBONE].blocks[0],
    }
    return {
        "heads": [{name: list(x.shape) for name, x in head.state_dict().items()} for head in heads],
        "learned": method.num_trainable_parameters(1),
        "defaults": defaults,
    }


VALUES: dict[str, Any] = {"": relative(1e-8), f"*{SINGLE}": relative(1e-4)}
WHOLE: dict[str, Any] = {"": relative(1e-7), f"*{SINGLE}": relative(1e-3)}
KINDS = {
    "abcdfss_affine": Kind(affine, {"": absolute(0), "out.masks_down": absolute(1e-7)}),
    "abcdfss_losses": Kind(losses, VALUES, precisions=DOUBLE_AND_SINGLE),
    "abcdfss_fit": Kind(fitting, VALUES, precisions=DOUBLE_AND_SINGLE),
    "abcdfss_compare": Kind(comparison, VALUES, precisions=DOUBLE_AND_SINGLE),
    "abcdfss_threshold": Kind(thresholds, {"": absolute(1e-6)}),
    "abcdfss_adapt": Kind(adapt, WHOLE, precisions=DOUBLE_AND_SINGLE),
    "abcdfss_pseudo": Kind(pseudo, WHOLE, precisions=DOUBLE_AND_SINGLE),
    "abcdfss_draws": Kind(draws, {"": absolute(1e-7)}),
    "abcdfss_layout": Kind(layout),
}
