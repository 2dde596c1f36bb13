"""IFA: self-support, the loop, whole networks, training steps of both programs, layout, schedules (ifa.md)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.methods.ifa import IFA
from fsbench.methods.ifa.ifa import ROUNDS, Program, rate_factor, step_outputs
from fsbench.methods.ifa.matching import (
    SURE,
    Prototypes,
    enhanced,
    local_background,
    masked_prototypes,
    mean_prototypes,
    one_round,
    self_support,
    similarity,
)
from fsbench.methods.ifa.network import LearnedResNet, released_name
from fsbench.methods.modules.maps import resize
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens.cases import Case
from tests.goldens.declared import DOUBLE_AND_SINGLE, Clear, Kind, Parts, Result, Results, Same, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_image, keyed_mask, keyed_state, statistics_result, statistics_rows
from tests.goldens.networks import changes, copies, gradients, optimizer_step

CHANNELS = 1024
STATISTICS = {torch.float64: 1e-7, torch.float32: 1e-2}
CHANGES = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Tolerances by the type that is computed in."""


def made_features(case: Case, name: str, offset: int) -> Tensor:
    """Return features of this name by the formula of `what`, float64; the ellipse of item i is number i + offset."""
    c, salt = case.config, case.config["salt"]
    batch, side = c["batch"], c["side"]
    step = 24 // side
    masks = torch.stack([keyed_mask(i + offset, 24, 24)[::step, ::step] for i in range(batch)])[:, None].double()
    foreground, background = (hashed(f"{name}/{part}", (1, CHANNELS, 1, 1), salt) for part in ("fg", "bg"))
    noise = hashed(f"{name}/noise", (batch, CHANNELS, side, side), salt)
    foreground, background, noise = (x.float().double() for x in (foreground, background, noise))
    return masks * foreground + (1 - masks) * background + c["noise"] * noise


def item_statistics(x: Tensor, name: str) -> Result:
    """Return the statistics of each item, held to the tolerance of its type."""
    return statistics_rows([*x], [name] * len(x), STATISTICS[x.dtype])


def tensor_statistics(x: Tensor, name: str) -> Result:
    """Return the statistics of a tensor, held to the tolerance of its type."""
    return statistics_result(x, name, STATISTICS[x.dtype])


def self_support_case(case: Case, dtype: torch.dtype) -> Results:
    c, salt = case.config, case.config["salt"]
    x = made_features(case, "q", 0).to(dtype).requires_grad_()
    logits = c["scale"] * hashed("out", (c["batch"], 2, c["side"], c["side"]), salt).float().double()
    logits[-1] *= 0.05
    logits = logits.to(dtype)
    own = self_support(x, logits)
    surely = logits.softmax(1)[:, 1] > SURE[1]
    foregrounds = [
        local_background(item, item[:, inside if inside.any() else p.topk(12).indices])
        for item, inside, p in zip(x.flatten(2), surely.flatten(1), logits.softmax(1)[:, 1].flatten(1), strict=True)
    ]
    probes = [hashed(f"w{i}", part.shape, salt).to(dtype) for i, part in enumerate(own)]
    loss = torch.stack([(part * probe).sum() for part, probe in zip(own, probes, strict=True)]).sum()
    return {
        "out.fg": own.foreground,
        "out.bg": own.background,
        "out.bg_local": item_statistics(own.local, "bg_local"),
        "out.fg_local": item_statistics(torch.stack(foregrounds), "fg_local"),
        "grad.features": tensor_statistics(gradients(loss, features=x)["features"], "features"),
    }


def loop(case: Case, dtype: torch.dtype) -> Results:
    c, salt = case.config, case.config["salt"]
    made = made_features(case, "q", 0)
    shots = [made_features(case, f"s{k}", 1 + k) + 0.5 * made for k in range(c["shot"])]
    query, support = made.to(dtype).requires_grad_(), torch.cat(shots).to(dtype).requires_grad_()

    def first(part: str, name: str) -> Tensor:
        shared, own = (hashed(key, (n, CHANNELS, 1, 1), salt) for key, n in ((f"q/{part}", 1), (name, c["batch"])))
        return (shared + 0.5 * own).to(dtype)

    start = Prototypes(first("fg", "FP"), first("bg", "BP"))
    results: dict[str, Any] = {}
    total: list[Tensor] = []
    for number in range(c["iterations"]):
        found = one_round(start, query, support if c["training"] else None, c["refine"] and number == 0)
        start = found.prototypes or start
        maps = {"out_refine": found.refined, "out_1": found.query, "supp_out": found.support}
        means = {} if found.prototypes is None else found.prototypes._asdict()
        named = {name: x for name, x in maps.items() if x is not None}
        statistics = {short: means[name] for short, name in (("FP", "foreground"), ("BP", "background")) if means}
        for name, x in (named | statistics).items():
            results[f"out.{number}.{name}"] = x if name in named else item_statistics(x, name)
            total.append((x * hashed(f"w{number}{name}", x.shape, salt).to(dtype)).sum())
    loss = torch.stack(total).sum()
    moved = gradients(loss, query=query, support=support)
    return results | {"out.loss": loss[None], "grad.": {name: tensor_statistics(x, name) for name, x in moved.items()}}


def hashed_network(network: LearnedResNet, salt: str) -> LearnedResNet:
    """Give a network the weights of the hash, by the authors' names."""
    names = {released_name(key): key for key in network.state_dict()}
    state = keyed_state({name: network.state_dict()[key] for name, key in names.items()}, salt)
    network.load_state_dict({names[name]: value for name, value in state.items()})
    return network


def keyed_images(case: Case, prefix: str = "") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries (B, 3, S, S), supports (K, B, 3, S, S) and masks (B, S, S) and (K, B, S, S) of a case."""
    c = case.config
    salt, side, shots, items = c["salt"] + prefix, c["side"], range(c["shot"]), range(c["batch"])
    query = torch.stack([keyed_image(f"{salt}q{i}", side, side) for i in items])
    support = [torch.stack([keyed_image(f"{salt}s{i}.{k}", side, side) for i in items]) for k in shots]
    masks = [torch.stack([keyed_mask(10 * i + k + 1, side, side) for i in items]) for k in shots]
    truth = torch.stack([keyed_mask(10 * i, side, side) for i in items])
    return query, torch.stack(support), truth, torch.stack(masks)


@torch.no_grad()
def whole(case: Case, dtype: torch.dtype) -> Results:
    c = case.config
    network = hashed_network(LearnedResNet(c["backbone"]), c["salt"]).to(dtype)
    query, support, truth, masks = keyed_images(case)
    q, s = network(query.to(dtype)), network(support.flatten(0, 1).to(dtype))
    if c["training"]:
        outputs = step_outputs(q, s, truth, masks.flatten(0, 1), c["refine"])
        supports = zip(outputs.queries, outputs.support_rounds, strict=True)
        named = {"refine": outputs.refined, "self": outputs.itself, "supp": outputs.supports}
        for number, (own, other) in enumerate(supports, 1):
            named |= {f"out_{number}": own, f"supp_{number}": other}
    else:
        shots = [masked_prototypes(x, m) for x, m in zip(s.split(len(q)), masks, strict=True)]
        found = one_round(mean_prototypes(shots), q, None, c["refine"])
        named = {
            name: None if x is None else resize(x, c["side"])
            for name, x in (("refine", found.refined), ("out_1", found.query))
        }
    shown = {name: x for name, x in named.items() if x is not None}
    first = shown[c["outputs"][0]]
    results: dict[str, Any] = {f"out.{name}": x[..., ::4, ::4] for name, x in shown.items()}
    results["mid.feature_stats"] = tensor_statistics(q, "query")
    least = 1e-7 if dtype == torch.float64 else 1e-3
    results["out.pred"] = Clear(first[:, 1] > first[:, 0], (first[:, 1] - first[:, 0]).abs() >= least)
    if dtype == torch.float64:
        results["mid.margin"] = _margin(case, q, s, masks)[None]
    return results


def _margin(case: Case, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
    """Return the smallest distance of a probability from its threshold in any self-support of a case."""
    c = case.config
    shots = [masked_prototypes(x, m) for x, m in zip(support.split(len(query)), masks, strict=True)]
    start, judged = mean_prototypes(shots), []
    for number in range(ROUNDS if c["training"] else 1):
        judged.append(similarity(query, start))
        found = one_round(start, query, support if c["training"] else None, c["refine"] and number == 0)
        judged += [found.query] if c["refine"] and number == 0 else []
        if found.prototypes is not None:
            first = enhanced(query, judged[-1 - (c["refine"] and number == 0)], start.foreground)
            judged.append(similarity(support, Prototypes(*(x.repeat_interleave(c["shot"], 0) for x in first))))
            start = found.prototypes
    limits = torch.tensor(SURE, dtype=torch.float64)[:, None]
    return torch.stack([(x.softmax(1).flatten(2) - limits).abs().min() for x in judged]).min()


class GivenNetwork(IFA):
    """IFA with the weights of a case, in a type."""

    def __init__(self, case: Case, dtype: torch.dtype, **settings: Any):
        super().__init__(BackboneConfig("dilated_resnet50", "random"), **settings)
        self.network = hashed_network(LearnedResNet(case.config["backbone"]), case.config["salt"]).to(dtype)
        self.train()


PROGRAMS: dict[str, Program] = {"train": "base", "ifa": "adaptation"}


def train_step(case: Case, dtype: torch.dtype) -> Parts:
    """Steps of the method's own loss and optimiser."""
    c = case.config
    sgd = {"momentum": c["momentum"], "weight_decay": c["weight_decay"]}
    method = GivenNetwork(case, dtype, refine=c["refine"], learning_rate=c["lr"], **sgd)
    network, start = method.network, copies(method.network)
    parts = method.optimisation(network, c["lr"], c["episode"] // c["batch"])
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    losses, rates = [], []
    for step in range(c["episode"] // c["snapshot"] * c["iterations_per_epoch"]):
        images = keyed_images(case, f"{step}/")
        rates.append(optimizer.param_groups[0]["lr"])
        given = [x.to(dtype) for x in images[:2]]
        loss = method.image_loss(network, *given, *images[2:], PROGRAMS[c["program"]])
        losses.append(loss.detach())
        found = optimizer_step(optimizer, loss, network)
        schedule.step()
        named = {released_name(name): g for name, g in found.items()}
        yield {f"grad.step{step}.{key}": tensor_statistics(g, key) for key, g in named.items()}
    moved = {released_name(name): x for name, x in changes(network, start).items()}
    still = [name for name in moved if name not in case.entry["optimised"]]
    yield {
        "out.losses": torch.stack(losses),
        "out.rates": torch.tensor(rates, dtype=torch.float64),
        "unchanged": Same([name for name in still if moved[name].abs().max() > 0], []),
        "optimised": Same([name for name in moved if name not in still], case.entry["optimised"]),
        "out.delta.": {
            name: statistics_result(x, name, CHANGES[dtype]) for name, x in moved.items() if name not in still
        },
    }


def layout(case: Case) -> Results:
    network = LearnedResNet(case.config["backbone"])
    own = [(released_name(key), list(x.shape)) for key, x in network.state_dict().items()]
    return {
        "names and shapes": Same(own, list(case.data["keys"].items())),
        "parameters": Same(sum(p.numel() for p in network.parameters()), case.data["parameters"]),
    }


def schedule(case: Case) -> Results:
    """Steps and decays by the programs' 24000 items and 20 epochs (§6)."""
    found = []
    for name, items, batch in case.config["cases"]:
        total, per_epoch = 24000 // batch, -(-items // batch)
        steps = 20 * per_epoch
        factors = [rate_factor(done, total) for done in range(max(total, steps) + 1)]
        decays = [done for done in range(1, len(factors)) if factors[done] < factors[done - 1]]
        found.append({
            "set": name, "items": items, "batch": batch, "epochs": 20, "steps_per_epoch": per_epoch,
            "total_iterations": total, "decays_after": decays,
            "decays_reached": [done for done in decays if done <= steps], "steps": steps,
            "final_rate_factor": round(factors[steps], 12),
        })  # fmt: skip
    return {"schedules": Same(found, case.data)}


VALUES = {"": relative(1e-8), f"*{DOUBLE_AND_SINGLE[torch.float32]}": relative(1e-4)}
CHECKS = {"ssp": self_support_case, "bfp": loop, "forward": whole, "train_step": train_step}
KINDS = {f"ifa_{name}": Kind(check, VALUES, precisions=DOUBLE_AND_SINGLE) for name, check in CHECKS.items()} | {
    "ifa_layout": Kind(layout),
    "ifa_schedule": Kind(schedule),
}
