"""SegGPT: files to the network's input, a tiny network, colours to masks, and all of it together (seggpt.md §8)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_pil
from fsbench.data.transforms import resize_image_bicubic
from fsbench.methods.seggpt import WHITE, at_size, colours, nearest_colour, paint_mask, palette
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.seggpt import paint, seggpt_net, seggpt_to_transformers_names
from fsbench.networks.weights.table import WeightFile
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Results, absolute, few, relative
from tests.goldens.networks import loaded

THRESHOLD = 128


def network_input(case: Case, shots: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query (3, S, S), examples and painted masks (K, 3, S, S) of a case's files, normalised."""
    t = case.tensors
    query = normalise(resize_image_bicubic(t["in.query"].numpy(), side))
    images = [normalise(resize_image_bicubic(t[f"in.prompt_{k}"].numpy(), side)) for k in range(shots)]
    painted = []
    for k in range(shots):
        if f"in.target_{k}" in t:
            planes = t[f"in.target_{k}"].permute(2, 0, 1).contiguous().numpy()
            painted.append(torch.stack([torch.tensor(resize_labels_pil(plane, side, side)) for plane in planes]))
        else:
            mask = torch.tensor(resize_labels_pil(t[f"in.mask_{k}"].numpy(), side, side))
            painted.append(paint_mask(mask == 1, WHITE))
    return query, torch.stack(images), normalise(torch.stack(painted))


def preprocess(case: Case, shots: int) -> Results:
    query, examples, painted = network_input(case, shots, 448)
    images, targets = torch.cat([examples, query.expand_as(examples)], 2), torch.cat([painted, painted], 2)
    found = {
        "strided": lambda x: x[:, :, 7::31, 5::29].permute(0, 2, 3, 1),
        "mean": lambda x: x.double().mean((2, 3)),
        "abs_mean": lambda x: x.double().abs().mean((2, 3)),
    }
    views = {"out.images_": images, "out.targets_": targets}
    return {name: {form: view(x) for form, view in found.items()} for name, x in views.items()}


def tiny_network(case: Case, c: dict[str, Any]) -> Any:
    """Build the case's network, frozen."""
    widths = c["dim"], c["heads"], c["dim"] * c["mlp_ratio"], c["image"][1], c["patch"], c["pretrain"], c["decoder_dim"]
    model = new_network(seggpt_net(*widths, WeightFile("none")), "SegGPT")
    return loaded(model, seggpt_to_transformers_names(case.state()))


@torch.no_grad()
def network(case: Case, seggpt: dict[str, Any], embedding: Any, images: Tensor, targets: Tensor) -> Results:
    side = seggpt["image"][1]
    pairs, painted = images.permute(0, 3, 1, 2), targets.permute(0, 3, 1, 2)[:, :, :side]
    query, examples = pairs[0, :, side:], pairs[:, :, :side]
    found = paint(tiny_network(case, seggpt), query, examples, painted, embedding, "authors")
    return {"mid.pred": found, "out.output": colours(found[0, :, side:]).permute(1, 2, 0)}


def decode(size: list[int], labels: int, raw: Tensor, label_map: Tensor) -> Results:
    found, table = at_size(colours(raw.permute(2, 0, 1)), (size[0], size[1])), palette(labels)
    grey = found.mean(0)
    shown = [paint_mask(label_map == label, tuple(colour)) for label, colour in enumerate(table.tolist())]
    return {
        "out.": {"palette": table, "binary": grey > THRESHOLD, "labels": nearest_colour(found, table)},
        "out.colour_sum": found.double().sum((1, 2)),
        "out.grey_full": grey.long(),
        "out.coloured": torch.stack(shown).sum(0).permute(1, 2, 0),
    }


@torch.no_grad()
def end_to_end(case: Case, seggpt: dict[str, Any], shots: int, embedding: Any, query: Tensor) -> Results:
    side = seggpt["image"][1]
    pairs = paint(tiny_network(case, seggpt), *network_input(case, shots, side), embedding, "authors")
    answer = colours(pairs[0, :, side:])
    found = at_size(answer, (query.shape[0], query.shape[1]))
    grey = found.mean(0)
    return {
        "mid.output_strided": answer[:, 3::9, 4::9].permute(1, 2, 0),
        "out.colour": found[:, ::2, ::2].permute(1, 2, 0),
        "out.score": grey / 255,
        "out.binary": grey > THRESHOLD,
    }


STRIDED = (few(0.001, rest=absolute(1e-5)), absolute(0.02))
KINDS = {
    "seggpt_preprocess": Kind(
        preprocess, {"out.": absolute(1e-5), "out.images_strided": STRIDED, "out.targets_strided": STRIDED}
    ),
    "seggpt_network": Kind(network, {"mid.pred": relative(1e-4), "out.output": absolute(0.02)}),
    "seggpt_decode": Kind(decode, {"out.colour_sum": relative(1e-6), "out.grey_full": absolute(1)}),
    "seggpt_end_to_end": Kind(end_to_end, {"": absolute(0.5), "out.score": absolute(0.002), "out.binary": few(0.005)}),
}
