"""PFENet: head, gradients, whole network, a training step, layout, number of episodes (pfenet-method.md)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.poly_rate import tenfold_sgd
from fsbench.methods.modules.pspnet import Features, Trunk
from fsbench.methods.pfenet import MODULES, PFENet, PFENetHead
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.words import OTHERS
from tests.goldens.harness import Case, Kind, Results, Same
from tests.goldens.networks import (
    changes,
    copies,
    gradients,
    load_hashed,
    optimizer_step,
    predictions,
    record_inputs,
    without_dropout,
)
from tests.goldens.prior_guided import (
    CHANNELS,
    REDUCED,
    WHOLE,
    given_features,
    hashed_images,
    network_kind,
    thinned,
)


def head(case: Case) -> Results:
    c, training = case.config, "in.query_mask" in case.tensors
    net = PFENetHead((c["f2"], c["f3"]), c["C"], c["ppm_scales"])
    net.load_state_dict(case.state())
    net.double().train(training)
    without_dropout(net)
    found: dict[str, Tensor] = {}
    record_inputs(found, pyramid=net.res1, **{f"merge_input_{i}": m for i, m in enumerate(net.init_merge)})
    query, support, _ = given_features(case)
    output = net(query, support, case.tensors["in.supp_mask"])
    full = resize(output.logits, c["image_side"])
    results = {
        "mid.": found | {"logits": output.logits},
        "mid.inner_logits_": dict(enumerate(output.inner)),
        "out.logits": thinned(full),
        "out.pred": predictions(full, 1e-5 * float(full.detach().abs().max())),
    }
    if not training:
        return results
    losses = net.losses(output, case.tensors["in.query_mask"])
    found_gradients = gradients(losses["loss"], net)
    return results | {
        "out.loss_": {"main": losses["main"][None], "aux": losses["inner"][None]},
        "grad.": found_gradients,
        "grad.state.": found_gradients,
    }


def true_network(case: Case) -> Results:
    kind, c = network_kind(case.config), case.config
    trunk, net = Trunk(kind).eval(), PFENetHead(CHANNELS[kind], 256, c["ppm_scales"]).eval()
    for module in (trunk, net):
        load_hashed(module)
        module.double()
    found: dict[str, Tensor] = {}
    record_inputs(found, merged=net.init_merge[0])
    query, supports = hashed_images(c)
    labels = case.tensors["in.supp_mask"]
    with torch.no_grad():
        f1, f2 = trunk.middle(supports.flatten(0, 1))
        support = masked_layer4(Features(f1, f2, f2, None), labels, trunk.layer4)
        output = net(Features(*trunk.trunk(query), None), support, labels)
    full, merged = resize(output.logits, c["size"]), found["merged"]
    return {
        "mid.": {"vector": merged[:, 256:512, 0, 0], "prior_0": merged[:, 512:], "logits": output.logits},
        "mid.inner_logits_": dict(enumerate(output.inner)),
        "out.logits": thinned(full),
        "out.pred": predictions(full, 1e-4 * float(full.abs().max())),
    }


class Wide(PFENet):
    """PFENet on images that are given as they are, in float64."""

    def __init__(self, config: dict):
        backbone = BackboneConfig(f"dilated_{network_kind(config)}", "random")
        super().__init__(backbone, ppm_scales=config["ppm_scales"])


class Images:
    """A training batch whose images are normalised already."""

    def __init__(self, query: Tensor, supports: Tensor, labels: Tensor, target: Tensor):
        batch, shots = supports.shape[:2]
        self.images = torch.cat([query, supports.flatten(0, 1)])
        self.query = torch.arange(batch)
        self.support = batch + torch.arange(batch * shots).view(batch, 1, shots)
        self.support_labels, self.target = labels[:, None], target

    def pixels(self, row: int) -> Tensor:
        return self.images[row]

    def known_truth(self) -> "Images":
        return self

    @property
    def label_maps(self) -> list[Tensor]:
        return list(self.target)


def train_step(case: Case) -> Results:
    """One step of the method itself: its features, loss and optimiser."""
    c, t = case.config, case.tensors
    method = Wide(c)
    assert method.trunk is not None
    load_hashed(method.trunk)
    load_hashed(method.head)
    method.double().train()
    without_dropout(method.head)
    groups = [list(getattr(method.head, name).parameters()) for name in MODULES]
    made = tenfold_sgd(groups, c["base_lr"], c["momentum"], c["weight_decay"], steps=c["max_iter"])
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for group in optimizer.param_groups:
        group["lr"] = 10 * c["base_lr"] * schedule.lr_lambdas[0](c["iteration"] - 1)
    parameters = sorted(name for name, _ in method.head.named_parameters())
    start = copies(method.head)
    losses = method.batch_loss(Images(*hashed_images(c, c["b"]), t["in.supp_mask"], t["in.query_mask"]))
    found = optimizer_step(optimizer, losses["loss"], method.head)
    moved = changes(method.head, start)
    buffers = sorted(method.trunk.named_buffers())
    return {
        "out.loss_": {"main": losses["main"][None], "aux": losses["inner"][None]},
        "mid.grad_l2": torch.stack([found[name].norm() for name in parameters]),
        "out.delta_l2": torch.stack([moved[name].norm() for name in parameters]),
        "out.": {
            kind: torch.cat([value.flatten() for name, value in buffers if name.endswith(kind)])
            for kind in ("running_mean", "running_var", "num_batches_tracked")
        },
    }


def layout(case: Case) -> Results:
    kind = network_kind(case.config)
    with torch.device("meta"):
        parts: list[nn.Module] = [Trunk(kind), PFENetHead(CHANNELS[kind], 256, [60, 30, 15, 8][: case.config["bins"]])]
    numbers = [sum(p.numel() for p in part.parameters()) for part in parts]
    return {
        "shapes": {key: list(v.shape) for part in parts for key, v in part.state_dict().items()},
        "learnable": numbers[1],
        "total": sum(numbers),
    }


def episode_count(case: Case) -> Results:
    found = {}
    for length, asked, passes, evaluated in case.data["rows"]:
        own = load_protocol("pfenet2020")
        draw = replace(own.draw, episodes={OTHERS: asked}, passes=passes)
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
