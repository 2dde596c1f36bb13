"""VRP-SAM: annotations, encoder, decoder, training steps, episodes (vrp-sam.md §11)."""

import gzip
import random
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.support_annotation import (
    LARGE,
    SMALL,
    AnnotationStreams,
    box_corners,
    draw_annotation,
    new_strokes,
    points,
    scribble,
)
from fsbench.data.transforms import resize_image
from fsbench.methods.modules.pspnet import BLOCKS, Features, Trunk
from fsbench.methods.vrp_sam.encoder import (
    Encoded,
    PromptGenerator,
    VisualPromptEncoder,
    annotated_cells,
    pseudo_mask,
    pseudo_mask_plain,
)
from fsbench.methods.vrp_sam.loss import cosine_adamw, mask_losses
from fsbench.methods.vrp_sam.networks import FIRST_DILATIONS, sam_square
from fsbench.methods.vrp_sam.vrp_sam import enlarged, joined, labels
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.sam import PromptableNetwork, SamNet, metas_name, sam_settings
from fsbench.networks.backbones.sam2_sam3 import sine_code
from fsbench.networks.weights.table import WeightFile
from fsbench.protocols.draws.pools import Pool
from fsbench.protocols.draws.streams import Generators
from fsbench.protocols.draws.vrp import SEED, Division, training_epoch, validation_episodes
from tests.goldens.harness import (
    EXACT,
    Case,
    Clear,
    Kind,
    Near,
    Parts,
    Result,
    Results,
    Same,
    Skipped,
    absolute,
    change,
    few,
    relative,
)
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.persam import rel, tiny_sam
from tests.goldens.meters import background_foreground, by_class, counts_of, row_of, scores, truth_of
from tests.goldens.networks import copies, gradients, load_hashed, optimizer_step, weighted_loss

CHANNELS = {"resnet50": (512, 1024), "vgg16": (256, 512)}
"""Channels of the outputs of layers 2 and 3."""
VALUES, LOOSE = rel(1e-5), rel(1e-4)


def annotation(case: Case) -> Parts:
    c, t = case.config, case.tensors
    masks, streams = t["in.mask"], AnnotationStreams.seeded(c["seed"])
    brush = SMALL if c["preset"] == "rand_curve_small" else LARGE
    if not c["training"]:
        drawn = draw_annotation(masks, c["condition"], streams)
    elif c["condition"] == "point":
        drawn = torch.stack([points(mask > 0, c["count"], streams.places) for mask in masks])
    else:
        drawn = torch.stack([scribble(mask > 0, c["count"], brush, streams) for mask in masks])
    yield {"out.annotation": drawn, "out.boxes": torch.tensor([box_corners(mask > 0) for mask in masks])}
    streams = AnnotationStreams.seeded(c["seed"])
    if c["condition"] == "scribble":
        for i, mask in enumerate(masks):
            starts, strokes = new_strokes(mask > 0, c["count"] or 9, brush, streams)
            yield {f"mid.points_{i}": starts, "mid.stroke_0": None if i else strokes[0].vertices.T}


def hashed_trunk(config: dict) -> Trunk:
    """Return a case's trunk with weights by the formula over the authors' keys."""
    kind = config["backbone"]
    trunk = Trunk(kind, FIRST_DILATIONS, config["blocks"] or BLOCKS.get(kind))
    load_hashed(trunk)
    return trunk.eval().requires_grad_(False)


def backbone(case: Case) -> Results:
    c = case.config
    images = hash_values(c["tag"], (2, 3, *c["side"]), -2, 2)
    layers = {f"layer{number}": x for number, x in zip((2, 3, 4), hashed_trunk(c).trunk(images), strict=True)}
    lengths = {f"{name}_l2": x.flatten(1).norm(dim=1) for name, x in layers.items()}
    return {"out.": {name: x[:, ::8] for name, x in layers.items()} | lengths}


def pseudo_masks(case: Case) -> Parts:
    t = case.tensors
    for function in (pseudo_mask, pseudo_mask_plain):
        yield {"out.pseudo_mask": function(t["in.support"], t["in.query"], t["in.mask"].float())}


def position(case: Case) -> Results:
    c = case.config
    return {"out.position": sine_code(2 * c["n"], c["h"], c["w"])}


def prompt_generator(case: Case) -> Results:
    c, t = case.config, case.tensors
    generator = PromptGenerator(c["C"], c["queries"], c["heads"])
    if c["hash"]:
        load_hashed(generator, under("transformer_decoder."))
    else:
        generator.load_state_dict(case.state())
    query, support = (t[f"in.{name}"].requires_grad_() for name in ("query", "support"))
    steps = generator.steps(query, support)
    found = gradients(weighted_loss(case, weight=steps.prompts), generator, query=query, support=support)
    projection = found["transformer_cross_attention_layers.0.multihead_attn.in_proj_weight"]
    return {
        "out.prompts": steps.prompts,
        "mid.cross_": {"support": steps.cross_support, "query": steps.cross_query},
        "mid.self_0": steps.self_support,
        "grad.": {name: found[name] for name in ("query", "support", "supp_q_feat.weight")},
        "grad.cross_in_proj": projection[::16, ::8] if c["hash"] else projection,
        "grad.self_0_norm": found["transformer_self_attention_layers_0.0.norm.weight"],
    }


def under(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return a function that puts a prefix before the names of a state."""
    return lambda state: {prefix + name: value for name, value in state.items()}


def small_encoder(case: Case) -> VisualPromptEncoder:
    """Return a case's encoder of reduced widths with its weights."""
    c = case.config
    encoder = VisualPromptEncoder((c["f2"], c["f3"]), c["C"], c["queries"])
    encoder.load_state_dict({k: v for k, v in case.state().items() if not k.startswith("sam.")})
    return encoder


def given_features(case: Case, cells: Tensor) -> tuple[Features, Features]:
    """Return query and support features, with the case's convolution as layer 4."""
    t = case.tensors

    def deep(f3: Tensor) -> Tensor:
        return F.relu(F.conv2d(f3, t["in.layer4_weight"]))

    query = Features(t["in.query_f2"], t["in.query_f3"], deep(t["in.query_f3"]), None)
    f3 = t["in.support_f3"]
    return query, Features(t["in.support_f2"], f3, deep(f3 * cells), None)


def encoder(case: Case) -> Results:
    c, net = case.config, small_encoder(case).eval()
    drawn = draw_annotation(case.tensors["in.mask"], c["condition"], AnnotationStreams.seeded(c["seed"]))
    cells = annotated_cells(drawn, c["side_f3"])
    found: Encoded = net(*given_features(case, cells), cells)
    return {
        "out.annotation": drawn,
        "mid.support_mask": found.cells,
        "mid.": {"pseudo_mask": found.pseudo_mask, "prototype": found.prototype},
        "mid.merged_": {"query": found.query, "support": found.support},
        "out.prompts": found.steps.prompts,
    }


def predictions(logits: Tensor) -> Clear:
    """Return masks (b, H, W) of logits, clear where these are not near 0."""
    masks = torch.stack([labels(one[None]) for one in logits])
    return Clear(masks.view_as(logits), logits.abs() > 1e-4 * logits.abs().max())


def sam_decode(case: Case) -> Parts:
    c, t = case.config, case.tensors
    sam = tiny_sam(c["sam"], case.group("state.sam."))
    encodings = torch.stack([sam.encode_pixels(sam_square(x, c["sam"]["image"]))[0][0] for x in t["in.image"]])
    yield {"mid.embedding": encodings}
    for given, note in ((encodings, ""), (t["mid.embedding"], "of the stored embedding")):
        low = sam.decode_embeddings(given, t["in.prompts"])
        logits = enlarged(low, (c["side"], c["side"]))
        yield {"mid.low_res": Result(low[:, None], note=note), "out.logits": Result(logits[:, None], note=note)}
        yield {"out.pred": predictions(logits)}


def loss(case: Case) -> Results:
    t = case.tensors
    logits = t["in.logits"].requires_grad_()
    found = mask_losses(logits[:, 0], t["in.mask"])
    return {
        "out.": {"loss": found["loss"], "dice": found["dice"], "bce": found["entropy"]},
        "grad.": gradients(found["loss"], logits=logits),
    }


def schedule(case: Case) -> Parts:
    for given in case.data:
        items = -(-given["images"] // given["world"])
        steps = -(-items // given["batch"])
        own = (steps, steps * given["epochs"])
        yield {"steps of an epoch and in all": Same(own, (given["steps_per_epoch"], given["total"]))}
        rates = dict(given["lr"])
        parameter = nn.Parameter(torch.zeros(1))
        made = cosine_adamw([parameter], case.config["lr"], 1e-6, given["total"])
        optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        found = {}
        for step in range(given["total"]):
            found[step] = optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()
        yield {f"rates of {given['total']} steps": Near([found[step] for step in rates], list(rates.values()))}


def train_steps(case: Case) -> Parts:
    c, t = case.config, case.tensors
    net = small_encoder(case).train()
    before = copies(net)
    sam = tiny_sam(c["sam"], case.group("state.sam."))
    made = cosine_adamw(net.parameters(), c["lr"], c["weight_decay"], c["total"])
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    group = optimizer.param_groups[0]
    yield {"betas and eps of AdamW": Same((group["betas"], group["eps"]), ((0.9, 0.999), 1e-8))}
    dropped: list[Tensor] = []
    net.downsample_query[2].register_forward_hook(keep_factors(dropped))
    cells = annotated_cells(draw_annotation(t["in.mask"], c["condition"], AnnotationStreams.seeded(0)), c["side_f3"])
    torch.manual_seed(c["seed"])
    losses, rates = [], []
    for step in range(c["steps"]):
        rates.append(group["lr"])
        found: Encoded = net(*given_features(case, cells), cells)
        logits = enlarged(sam.decode_embeddings(t["in.embedding"], found.steps.prompts), (c["image"], c["image"]))
        value = mask_losses(logits, t["in.query_mask"])["loss"]
        found_gradients = optimizer_step(optimizer, value, net)
        scheduler.step()
        if not step:
            yield {"out.logits_0": logits[:, None, ::2, ::2], "out.prompts_0": found.steps.prompts}
            yield {"grad.": found_gradients}
        losses.append(value.detach())
    yield {
        "out.losses": torch.stack(losses),
        "mid.lr": rates,
        "mid.dropout_query_": dict(enumerate(dropped[::2])),
        "mid.dropout_support_": dict(enumerate(dropped[1::2])),
        "SAM has no gradients": Same(all(p.grad is None for p in sam.model.parameters()), True),
        "out.after.": {name: change(value, before[name]) for name, value in net.named_parameters()},
    }


def keep_factors(into: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """Return a hook that keeps the factors (b, c) of a Dropout2d; a channel that is 0 everywhere counts as kept."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        alive = output.flatten(2).abs().amax(2) > 0
        empty = inputs[0].flatten(2).abs().amax(2) == 0
        into.append(torch.where(alive | empty, 2.0, 0.0))

    return hook


def hashed_sam(config: dict[str, Any]) -> PromptableNetwork:
    """Return a case's SAM with weights by the formula over Meta's names."""
    net = SamNet("SamModel", sam_settings(**config), WeightFile("tiny"), side=config["image"])
    own = new_network(net, "a golden").state_dict()
    shapes = {
        metas_name(k): v.shape for k, v in own.items() if k != "prompt_encoder.shared_embedding.positional_embedding"
    }
    values = hash_state({f"sam.{name}": shape for name, shape in shapes.items()})
    return tiny_sam(config, {name.removeprefix("sam."): value for name, value in values.items()})


def end_to_end(case: Case) -> Results:
    c, t = case.config, case.tensors
    trunk, sam = hashed_trunk(c), hashed_sam(c["sam"])
    net = VisualPromptEncoder(CHANNELS[c["backbone"]], 256, c["queries"])
    load_hashed(net.eval())
    shots, side = c["shot"], c["side"]
    query = hash_values(c["tag"], (1, 3, side, side), -2, 2)
    supports = hash_values(c["tag"] + 1, (1, shots, 3, side, side), -2, 2)[0]
    streams = AnnotationStreams.seeded(c["seed"])
    drawn = torch.cat([draw_annotation(mask[None], c["condition"], streams) for mask in t["in.mask"][0]])
    with torch.no_grad():
        features = Features(*trunk.trunk(query), None)
        f1, f2 = trunk.middle(supports)
        cells = annotated_cells(drawn, f2.shape[-1])
        prompts = joined(net(features, Features(f1, f2, trunk.layer4(f2 * cells), None), cells))
        encoding = sam.encode_pixels(sam_square(query[0], c["sam"]["image"]))[0]
        logits = enlarged(sam.decode_embeddings(encoding, prompts), (side, side))
    if c["original_size"]:
        logits = enlarged(logits, tuple(c["original_size"]))
    return {"mid.prompts": prompts[:, ::5], "out.logits": logits[:, None], "out.pred": predictions(logits)}


def preprocess(case: Case) -> Results:
    """Images as protocols resize them and the batch normalises them, and what SAM sees of them."""
    c, t = case.config, case.tensors
    side, number = c["side"], c["class"] + 1
    image = resize_image(Image.fromarray(t["in.image"].byte().numpy()), side)
    pixels = normalise(image)
    values = pixels.flatten(1).double()
    small = way_labels(resize_labels(t["in.label"].byte().numpy(), side, side), [number])
    return {
        "out.image": pixels[:, ::3, ::3],
        "out.image_mean_std": torch.stack([values.mean(1), values.std(1, correction=0)]),
        "out.sam_input": sam_square(pixels, 2 * side)[:, ::5, ::5],
        "out.mask": small == 1,
        "out.ignore": small == VOID,
    }


def metrics(case: Case) -> Results:
    """Predictions as the method makes them, counted as the protocol `hsnet` counts."""
    t, fold = case.tensors, case.config["fold"]
    predicted = torch.stack([labels(logits) for logits in t["in.logits"]])
    inter, union = background_foreground(counts_of(predicted, truth_of(case, "in.mask")))
    pascal = case.config["data_set"] == "pascal"
    classes = [5 * fold + i for i in range(5)] if pascal else list(range(fold, 80, 4))
    columns = [classes.index(number) for number in t["in.class"].tolist()]
    found = scores(*(by_class(values, columns, len(classes)) for values in (inter, union)))
    return {"out.counts": np.concatenate([inter, union]).T, "out.": found}


def case_pool(case: Case) -> Pool:
    """Return the pool of a case's synthetic lists."""
    d = case.data
    images_of = {int(number) + 1: names for number, names in d["classwise"].items()}
    if case.config["data_set"] == "coco":
        pairs = [(name, 0) for name in d["images"]]
        return Pool(pairs, images_of, sorted(images_of), "class_first")
    shown = {name: [number + 1 for number in numbers] for name, numbers in d["present"].items()}
    pairs = [(name, number) for name in d["images"] for number in shown[name]]
    return Pool(pairs, images_of, sorted(images_of), "image_first", shown.__getitem__)


def episode_rows(episodes: Iterable[Episode]) -> list[list[Any]]:
    """Return episodes as rows of the cases."""
    return [[e.index, *row_of(e)] for e in episodes]


def episodes(case: Case) -> Parts:
    c, pool = case.config, case_pool(case)
    yield {"seed of the authors": Same(c["seed"], SEED)}
    if c["split"] == "val":
        whole = [
            validation_episodes(pool, Generators.seeded(SEED), c["shot"], process, c["world"])
            for process in range(c["world"])
        ]
        found = [episode_rows(islice(drawn, 60)) for drawn in whole]
    else:
        division = Division(c["world"], c["batch"], c["workers"])
        processes = training_epoch(pool, c["epoch"], c["shot"], division)
        items = -(-c["len"] // c["world"])
        yield {"items of a process": Same({len(drawn) for drawn in processes}, {items})}
        found = [episode_rows(drawn[:60]) for drawn in processes]
    for process, (ours, stored) in enumerate(zip(found, case.data["episodes"], strict=True)):
        yield {f"process {process}: {len(stored)} episodes": Same(ours[: len(stored)], stored)}


def validation_stream(case: Case) -> Results:
    """Episodes and annotations of one process, which take turns in the same streams."""
    c, t = case.config, case.tensors
    images_of: dict[int, list[str]] = {}
    for number, image in t["in.classwise"].tolist():
        images_of.setdefault(number + 1, []).append(str(image))
    pairs = [(name, number) for number, names in images_of.items() for name in names]
    pool = Pool(pairs, images_of, sorted(images_of), "class_first")
    annotations = AnnotationStreams.seeded(c["seed"])
    torch.empty((), dtype=torch.int64).random_(generator=annotations.places)  # the loader's own draw
    drawn = validation_episodes(pool, Generators(random.Random(c["seed"]), annotations.strokes), 1)
    rows, maps = [], []
    for _ in range(c["episodes"] // 2):
        batch = list(islice(drawn, 2))
        rows += [[e.query_class - 1, int(e.query), int(e.supports[0][0])] for e in batch]
        masks = t["in.masks"][[int(e.supports[0][0]) for e in batch]]
        maps.append(draw_annotation(masks, c["condition"], annotations))
    return {"out.episodes": rows, "out.annotation": torch.cat(maps)}


def official_episodes(case: Case) -> Results:
    c = case.config
    order, members = (case.folder / "coco_val_image_order.txt.gz"), (case.folder.parent / "dcama/coco_val_order.txt.gz")
    if not order.is_file() or not members.is_file():
        raise Skipped(f"it needs {order.name} beside it and ../dcama/{members.name}")
    place = {name: i for i, name in enumerate(gzip.decompress(order.read_bytes()).decode().split())}
    listed = [line.split() for line in gzip.decompress(members.read_bytes()).decode().splitlines()]
    images_of = {
        int(number) + 1: sorted(names, key=place.__getitem__)
        for number, *names in listed
        if int(number) % 4 == c["fold"]
    }
    pool = Pool([(n, k) for k, names in images_of.items() for n in names], images_of, sorted(images_of), "class_first")
    drawn = islice(validation_episodes(pool, Generators.seeded(c["seed"]), c["shot"], processes=1), len(case.data))
    return {f"{len(case.data)} episodes": Same(episode_rows(drawn), case.data)}


NEAR = absolute(1e-5)
MOVED = few(0.01, rest=relative(2e-2))
TRAINED = {
    "out.": LOOSE,
    "out.losses": relative(5e-5),
    "out.after.": MOVED,
    "mid.lr": absolute(1e-12),
    "grad.": rel(1e-3),
}
KINDS = {
    "vrp_episodes": Kind(episodes),
    "vrp_validation_stream": Kind(validation_stream),
    "vrp_official_episodes": Kind(official_episodes),
    "vrp_annotation": Kind(annotation, {"mid.": absolute(1e-6)}),
    "vrp_backbone": Kind(backbone, {"": LOOSE}),
    "vrp_pseudo_mask": Kind(pseudo_masks, {"": NEAR}),
    "vrp_position": Kind(position, {"": NEAR}),
    "vrp_prompt_generator": Kind(prompt_generator, {"": VALUES, "grad.": rel(1e-4)}),
    "vrp_encoder": Kind(encoder, {"": VALUES, "out.annotation": EXACT, "mid.support_mask": EXACT}),
    "vrp_sam_decode": Kind(sam_decode, {"": LOOSE, "*of the stored embedding": VALUES}),
    "vrp_loss": Kind(loss, {"": relative(1e-6)}),
    "vrp_schedule": Kind(schedule, {"rates": absolute(1e-13)}),
    "vrp_train_steps": Kind(train_steps, TRAINED),
    "vrp_end_to_end": Kind(end_to_end, {"": LOOSE}),
    "vrp_preprocess": Kind(preprocess, {"": NEAR, "out.mask": EXACT, "out.ignore": EXACT}),
    "vrp_metrics": Kind(metrics, {"": relative(1e-5), "out.counts": EXACT}),
}
