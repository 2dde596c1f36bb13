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
from tests.goldens.harness import Case, Kind, Results, absolute, few, relative

THRESHOLD = 128


def network_input(case: Case, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query (3, S, S), examples and painted masks (K, 3, S, S) of a case's files, normalised."""
    t = case.tensors
    query = normalise(resize_image_bicubic(t["in.query"].numpy(), side))
    shots = range(case.config["shots"])
    examples = torch.stack([normalise(resize_image_bicubic(t[f"in.prompt_{k}"].numpy(), side)) for k in shots])
    painted = []
    for k in shots:
        if f"in.target_{k}" in t:
            planes = t[f"in.target_{k}"].permute(2, 0, 1).contiguous().numpy()
            painted.append(torch.stack([torch.tensor(resize_labels_pil(plane, side, side)) for plane in planes]))
        else:
            mask = torch.tensor(resize_labels_pil(t[f"in.mask_{k}"].numpy(), side, side))
            painted.append(paint_mask(mask == 1, WHITE))
    return query, examples, normalise(torch.stack(painted))


def preprocess(case: Case) -> Results:
    query, examples, painted = network_input(case, 448)
    pairs = {
        "images": torch.cat([examples, query.expand_as(examples)], 2),
        "targets": torch.cat([painted, painted], 2),
    }
    found = {}
    for name, values in pairs.items():
        found[f"{name}_strided"] = values[:, :, 7::31, 5::29].permute(0, 2, 3, 1)
        found[f"{name}_mean"] = values.double().mean((2, 3))
        found[f"{name}_abs_mean"] = values.double().abs().mean((2, 3))
    return {"out.": found}


def tiny_network(case: Case) -> Any:
    """Build the case's network, frozen."""
    c = case.config["seggpt"]
    spec = seggpt_net(
        c["dim"], c["heads"], c["dim"] * c["mlp_ratio"], c["image"][1], c["patch"], c["pretrain"], c["decoder_dim"],
        WeightFile("none"),
    )  # fmt: skip
    model = new_network(spec, "SegGPT")
    model.load_state_dict(seggpt_to_transformers_names(case.state()))
    return model


def network(case: Case) -> Results:
    side, embedding = case.config["seggpt"]["image"][1], case.config["embedding"]
    images, targets = (case.tensors[f"in.{name}"].permute(0, 3, 1, 2) for name in ("images", "targets"))
    query, examples, painted = images[0, :, side:], images[:, :, :side], targets[:, :, :side]
    with torch.no_grad():
        found = paint(tiny_network(case), query, examples, painted, embedding, "authors")
    return {"mid.pred": found, "out.output": colours(found[0, :, side:]).permute(1, 2, 0)}


def decode(case: Case) -> Results:
    t, c = case.tensors, case.config
    height, width = c["size"]
    found = at_size(colours(t["in.raw"].permute(2, 0, 1)), (height, width))
    table = palette(c["labels"])
    grey = found.mean(0)
    shown = torch.stack(
        [paint_mask(t["in.label_map"] == label, tuple(table[label].tolist())) for label in range(len(table))]
    )
    return {
        "out.": {"palette": table, "binary": grey > THRESHOLD, "labels": nearest_colour(found, table)},
        "out.colour_sum": found.double().sum((1, 2)),
        "out.grey_full": grey.long(),
        "out.coloured": shown.sum(0).permute(1, 2, 0),
    }


def end_to_end(case: Case) -> Results:
    c = case.config
    side = c["seggpt"]["image"][1]
    query, examples, painted = network_input(case, side)
    with torch.no_grad():
        pairs = paint(tiny_network(case), query, examples, painted, c["embedding"], "authors")
    answer = colours(pairs[0, :, side:])
    height, width = case.tensors["in.query"].shape[:2]
    found = at_size(answer, (height, width))
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
