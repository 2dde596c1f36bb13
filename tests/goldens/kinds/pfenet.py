"""PFENet: head, gradients, whole network, a training step, layout, number of episodes (pfenet-method.md)."""

from dataclasses import replace

import torch
from torch import Tensor

from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.poly_rate import tenfold_sgd
from fsbench.methods.modules.pspnet import Features, Trunk
from fsbench.methods.pfenet import MODULES, PFENet, PFENetHead
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.words import OTHERS
from tests.goldens import networks as n
from tests.goldens import prior_guided as common
from tests.goldens.batches import training_batch
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Results, Same
from tests.goldens.prior_guided import REDUCED, WHOLE, network_kind, thinned


def head(
    case: Case, f2: int, f3: int, C: int, ppm_scales: list[float], image_side: int, supp_mask: Tensor,
    query_mask: Tensor | None = None,
) -> Results:  # fmt: skip
    net = n.loaded(PFENetHead((f2, f3), C, ppm_scales), case.state())
    n.without_dropout(net.double().train(query_mask is not None))
    found: dict[str, Tensor] = {}
    n.record_inputs(found, pyramid=net.res1, **{f"merge_input_{i}": m for i, m in enumerate(net.init_merge)})
    query, support, _ = common.given_features(case)
    output = net(query, support, supp_mask)
    full = resize(output.logits, image_side)
    results = {
        "mid.": found | {"logits": output.logits},
        "mid.inner_logits_": dict(enumerate(output.inner)),
        "out.logits": thinned(full),
        "out.pred": n.predictions(full, 1e-5 * float(full.detach().abs().max())),
    }
    if query_mask is None:
        return results
    losses = net.losses(output, query_mask)
    taken = n.gradients(losses["loss"], net)
    return results | {"out.loss_": shown_losses(losses), "grad.": taken, "grad.state.": taken}


def shown_losses(losses: dict[str, Tensor]) -> Results:
    return {"main": losses["main"][None], "aux": losses["inner"][None]}


@torch.no_grad()
def true_network(case: Case, ppm_scales: list[float], tag: int, size: int, shot: int, supp_mask: Tensor) -> Results:
    kind = network_kind(case.config)
    trunk, net = Trunk(kind), PFENetHead(common.CHANNELS[kind], 256, ppm_scales)
    for module in (trunk, net):
        n.load_hashed(module).double().eval()
    found: dict[str, Tensor] = {}
    n.record_inputs(found, merged=net.init_merge[0])
    query, supports = common.hashed_images(tag, size, shot)
    support = common.read_supports(trunk, supports, supp_mask)
    output = net(Features(*trunk.trunk(query), None), support, supp_mask)
    full, merged = resize(output.logits, size), found["merged"]
    return {
        "mid.": {"vector": merged[:, 256:512, 0, 0], "prior_0": merged[:, 512:], "logits": output.logits},
        "mid.inner_logits_": dict(enumerate(output.inner)),
        "out.logits": thinned(full),
        "out.pred": n.predictions(full, 1e-4 * float(full.abs().max())),
    }


def train_step(
    case: Case, ppm_scales: list[float], tag: int, size: int, shot: int, b: int, base_lr: float, momentum: float,
    weight_decay: float, max_iter: int, iteration: int, supp_mask: Tensor, query_mask: Tensor,
) -> Results:  # fmt: skip
    """One step of the method itself: its features, loss and optimiser."""
    backbone = BackboneConfig(f"dilated_{network_kind(case.config)}", "random")
    method = PFENet(backbone, ppm_scales=ppm_scales)
    assert method.trunk is not None
    n.load_hashed(method.trunk)
    n.load_hashed(method.head)
    n.without_dropout(method.double().train().head)
    groups = [list(getattr(method.head, name).parameters()) for name in MODULES]
    made = tenfold_sgd(groups, base_lr, momentum, weight_decay, steps=max_iter)
    n.set_rates(made["optimizer"], made["lr_scheduler"]["scheduler"], iteration - 1)
    start = n.copies(method.head)
    names = sorted(start)
    losses = method.batch_loss(training_batch(*common.hashed_images(tag, size, shot, b), supp_mask, query_mask))
    taken = n.optimizer_step(made["optimizer"], losses["loss"], method.head)
    return {
        "out.loss_": shown_losses(losses),
        "mid.grad_l2": n.lengths(taken, names),
        "out.delta_l2": n.lengths(n.changes(method.head, start), names),
        "out.": n.buffers_by_kind(method.trunk),
    }


def layout(case: Case, bins: int) -> Results:
    kind = network_kind(case.config)
    with torch.device("meta"):
        trunk, net = Trunk(kind), PFENetHead(common.CHANNELS[kind], 256, [60, 30, 15, 8][:bins])
    return {"shapes": n.shapes(trunk, net), **n.numbers_of_weights(net, trunk)}


def episode_count(case: Case) -> Results:
    found = {}
    for length, asked, passes, evaluated in case.data["rows"]:
        draw = replace(load_protocol("pfenet2020").draw, episodes={OTHERS: asked}, passes=passes)
        number = min(draw.episode_count("pascal", length), passes * length)
        found[f"{length} images, {asked}, passes {passes}"] = Same(number, evaluated)
    return found


KINDS = {
    "pfenet_head": Kind(head, REDUCED),
    "pfenet_head_train": Kind(head, REDUCED),
    "pfenet_true": Kind(true_network, WHOLE),
    "pfenet_train_step": Kind(train_step, WHOLE),
    "pfenet_layout": Kind(layout),
    "pfenet_episode_count": Kind(episode_count),
}
