"""SegGPT: files to the network's input, a tiny network, colours to masks, and all of it together (seggpt.md §8)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.backbones.hub_networks import new_network
from fsbench.backbones.seggpt import paint, seggpt_net, seggpt_to_transformers_names
from fsbench.data.batch import normalise
from fsbench.data.transforms import resize_image_bicubic, resize_labels_pil
from fsbench.weights.table import WeightFile
from methods.seggpt import WHITE, at_size, colours, nearest_colour, paint_mask, palette
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, absolute, compare, equal, relative

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


def few_differ(case: Case, name: str, value: Tensor, atol: float, rest: float, share: float) -> Comparisons:
    """Compare within `atol`, but allow a difference of `rest` in this share of the values."""
    reference = case.tensors[name]
    far = (value - reference).abs() > atol
    yield equal(f"{name}: at most {share:.1%} differ by more than {atol:g}", bool(far.float().mean() <= share), True)
    yield case.compare(name, value, absolute(rest))


def preprocess(case: Case) -> Comparisons:
    query, examples, painted = network_input(case, 448)
    images = torch.cat([examples, query.expand_as(examples)], 2)
    targets = torch.cat([painted, painted], 2)
    for name, pairs in {"images": images, "targets": targets}.items():
        strided = pairs[:, :, 7::31, 5::29].permute(0, 2, 3, 1)
        yield from few_differ(case, f"out.{name}_strided", strided, 1e-5, 0.02, 0.001)
        yield case.compare(f"out.{name}_mean", pairs.double().mean((2, 3)), absolute(1e-5))
        yield case.compare(f"out.{name}_abs_mean", pairs.double().abs().mean((2, 3)), absolute(1e-5))


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


def network(case: Case) -> Comparisons:
    side = case.config["seggpt"]["image"][1]
    images, targets = (case.tensors[f"in.{name}"].permute(0, 3, 1, 2) for name in ("images", "targets"))
    with torch.no_grad():
        found = paint(
            tiny_network(case),
            images[0, :, side:],
            images[:, :, :side],
            targets[:, :, :side],
            case.config["embedding"],
            "authors",
        )
    yield case.compare("mid.pred", found, relative(1e-4))
    yield case.compare("out.output", colours(found[0, :, side:]).permute(1, 2, 0), absolute(0.02))


def decode(case: Case) -> Comparisons:
    t, c = case.tensors, case.config
    height, width = c["size"]
    found = at_size(colours(t["in.raw"].permute(2, 0, 1)), (height, width))
    table = palette(c["labels"])
    grey = found.mean(0)
    yield case.compare("out.palette", table, EXACT)
    yield case.compare("out.colour_sum", found.double().sum((1, 2)), relative(1e-6))
    yield case.compare("out.binary", grey > THRESHOLD, EXACT)
    yield case.compare("out.labels", nearest_colour(found, table), EXACT)
    yield case.compare("out.grey_full", grey.long(), absolute(1))
    shown = torch.stack(
        [paint_mask(t["in.label_map"] == label, tuple(table[label].tolist())) for label in range(len(table))]
    )
    yield case.compare("out.coloured", shown.sum(0).permute(1, 2, 0), EXACT)


def end_to_end(case: Case) -> Comparisons:
    c = case.config
    side = c["seggpt"]["image"][1]
    query, examples, painted = network_input(case, side)
    with torch.no_grad():
        pairs = paint(tiny_network(case), query, examples, painted, c["embedding"], "authors")
    answer = colours(pairs[0, :, side:])
    height, width = case.tensors["in.query"].shape[:2]
    found = at_size(answer, (height, width))
    grey = found.mean(0)
    yield case.compare("mid.output_strided", answer[:, 3::9, 4::9].permute(1, 2, 0), absolute(0.5))
    yield case.compare("out.colour", found[:, ::2, ::2].permute(1, 2, 0), absolute(0.5))
    yield case.compare("out.score", grey / 255, absolute(0.002))
    yield share_of_pixels(case, "out.binary", grey > THRESHOLD, 0.005)


def share_of_pixels(case: Case, name: str, mask: Tensor, share: float) -> Comparison:
    """Compare masks of which this share of the pixels may differ."""
    case.checked.add(name)
    differing = (mask != (case.tensors[name] > 0)).float().mean()
    return compare(f"{name}: share that differs", differing, torch.zeros(()), absolute(share))


KINDS = {
    "seggpt_preprocess": preprocess,
    "seggpt_network": network,
    "seggpt_decode": decode,
    "seggpt_end_to_end": end_to_end,
}
