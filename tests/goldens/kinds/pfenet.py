"""PFENet: head, gradients, whole network, a training step, layout, number of episodes (pfenet-method.md)."""

import torch
from torch import Tensor, nn

from fsbench.backbones.base import BackboneConfig
from fsbench.protocols.padded import evaluated_episodes
from methods.modules.maps import resize
from methods.modules.masked_comparison import masked_layer4
from methods.modules.poly_rate import tenfold_sgd
from methods.modules.pspnet import Features, Trunk
from methods.pfenet import MODULES, PFENet, PFENetHead
from tests.goldens.harness import EXACT, Case, Comparisons, equal
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

CHANNELS = {"resnet50": (512, 1024), "vgg16": (256, 512)}


def head(case: Case) -> Comparisons:
    c = case.config
    net = PFENetHead((c["f2"], c["f3"]), c["C"], c["ppm_scales"])
    net.load_state_dict(case.state())
    net.double()
    training = "in.query_mask" in case.tensors
    net.train(training)
    without_dropout(net)
    found: dict[str, Tensor] = {}
    record_inputs(found, pyramid=net.res1, **{f"merge_input_{i}": m for i, m in enumerate(net.init_merge)})
    query, support, _ = given_features(case)
    output = net(query, support, case.tensors["in.supp_mask"])
    found |= {"logits": output.logits} | {f"inner_logits_{i}": logits for i, logits in enumerate(output.inner)}
    for name, value in found.items():
        yield case.compare(f"mid.{name}", value, VALUES)
    full = resize(output.logits, c["image_side"])
    yield case.compare("out.logits", thinned(full), VALUES)
    yield predictions(case, full, 1e-5 * float(full.detach().abs().max()))
    if training:
        losses = net.losses(output, case.tensors["in.query_mask"])
        yield case.compare("out.loss_main", losses["main"][None], VALUES)
        yield case.compare("out.loss_aux", losses["inner"][None], VALUES)
        losses["loss"].backward()
        for name, parameter in net.named_parameters():
            yield case.compare(f"grad.{name}", parameter.grad, GRADIENTS)
            yield case.compare(f"grad.state.{name}", parameter.grad, GRADIENTS)


def whole(config: dict) -> tuple[Trunk, PFENetHead]:
    """Return trunk and head at true widths with the weights of the index, in float64."""
    kind = "vgg16" if config["backbone"].startswith("vgg") else "resnet50"
    trunk, net = Trunk(kind), PFENetHead(CHANNELS[kind], 256, config["ppm_scales"])
    load_hashed({"trunk": trunk, "head": net}, lambda state: state)
    return trunk, net


def true_network(case: Case) -> Comparisons:
    trunk, net = whole(case.config)
    trunk.eval(), net.eval()
    found: dict[str, Tensor] = {}
    record_inputs(found, merged=net.init_merge[0])
    query, supports = hashed_images(case.config)
    labels = case.tensors["in.supp_mask"]
    with torch.no_grad():
        f1, f2 = trunk.middle(supports.flatten(0, 1))
        support = masked_layer4(Features(f1, f2, f2, None), labels, trunk.layer4)
        output = net(Features(*trunk.trunk(query), None), support, labels)
    yield case.compare("mid.vector", found["merged"][:, 256:512, 0, 0], WHOLE)
    yield case.compare("mid.prior_0", found["merged"][:, 512:], WHOLE)
    yield case.compare("mid.logits", output.logits, WHOLE)
    for i, logits in enumerate(output.inner):
        yield case.compare(f"mid.inner_logits_{i}", logits, WHOLE)
    full = resize(output.logits, case.config["size"])
    yield case.compare("out.logits", thinned(full), WHOLE)
    yield predictions(case, full, 1e-4 * float(full.abs().max()))


class Wide(PFENet):
    """PFENet on images that are given as they are, in float64."""

    def __init__(self, config: dict):
        kind = "vgg16" if config["backbone"].startswith("vgg") else "resnet50"
        super().__init__(BackboneConfig(f"dilated_{kind}", "random"), ppm_scales=config["ppm_scales"])


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


def train_step(case: Case) -> Comparisons:
    """One step of the method itself: its features, loss and optimiser."""
    c, t = case.config, case.tensors
    method = Wide(c)
    assert method.trunk is not None
    load_hashed({"trunk": method.trunk, "head": method.head}, lambda state: state)
    method.double().train()
    without_dropout(method.head)
    groups = [list(getattr(method.head, name).parameters()) for name in MODULES]
    rates = (c["base_lr"], c["momentum"], c["weight_decay"])
    made = tenfold_sgd(groups, *rates, steps=c["max_iter"])
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for group in optimizer.param_groups:
        group["lr"] = 10 * c["base_lr"] * schedule.lr_lambdas[0](c["iteration"] - 1)
    parameters = dict(method.head.named_parameters())
    start = {name: p.detach().clone() for name, p in parameters.items()}
    losses = method.loss(Images(*hashed_images(c, c["b"]), t["in.supp_mask"], t["in.query_mask"]))
    losses["loss"].backward()
    yield case.compare("out.loss_main", losses["main"][None], WHOLE)
    yield case.compare("out.loss_aux", losses["inner"][None], WHOLE)
    order = sorted(parameters)
    yield case.compare("mid.grad_l2", torch.stack([parameters[n].grad.norm() for n in order]), WHOLE)
    optimizer.step()
    yield case.compare("out.delta_l2", torch.stack([(parameters[n] - start[n]).norm() for n in order]), WHOLE)
    buffers = dict(method.trunk.named_buffers())
    for kind, tolerance in (("running_mean", WHOLE), ("running_var", WHOLE), ("num_batches_tracked", EXACT)):
        values = [buffers[name].flatten() for name in sorted(buffers) if name.endswith(kind)]
        yield case.compare(f"out.{kind}", torch.cat(values), tolerance)


def layout(case: Case) -> Comparisons:
    kind = "vgg16" if case.config["backbone"].startswith("vgg") else "resnet50"
    with torch.device("meta"):
        parts: list[nn.Module] = [Trunk(kind), PFENetHead(CHANNELS[kind], 256, [60, 30, 15, 8][: case.config["bins"]])]
    shapes = {key: list(v.shape) for part in parts for key, v in part.state_dict().items()}
    yield equal("names and shapes", shapes, case.data["shapes"])
    learnable = sum(p.numel() for p in parts[1].parameters())
    yield equal("learnable", learnable, case.data["learnable"])
    yield equal("total", learnable + sum(p.numel() for p in parts[0].parameters()), case.data["total"])


def episode_count(case: Case) -> Comparisons:
    for length, asked, passes, evaluated in case.data["rows"]:
        yield equal(f"{length} images, {asked}", evaluated_episodes(asked, length, passes), evaluated)


KINDS = {
    "pfenet_head": head,
    "pfenet_head_train": head,
    "pfenet_true": true_network,
    "pfenet_train_step": train_step,
    "pfenet_layout": layout,
    "pfenet_episode_count": episode_count,
}
