"""VRP-SAM: annotations, encoder, decoder, training steps, episodes (vrp-sam.md §11)."""

import gzip
import random
import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fsbench.backbones.hub_networks import new_network
from fsbench.backbones.sam import PromptableNetwork, SamNet, sam_settings
from fsbench.backbones.sine_code import sine_code
from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID
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
from fsbench.episodes.episode import Episode
from fsbench.metrics.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from fsbench.metrics.episodic import count
from fsbench.protocols.pools import Pool
from fsbench.protocols.vrp_draws import SEED, Division, EpisodeStreams, training_epoch, validation_episodes
from fsbench.weights.table import WeightFile
from methods.modules.pspnet import BLOCKS, Features, Trunk
from methods.vrp_sam.encoder import (
    Encoded,
    PromptGenerator,
    VisualPromptEncoder,
    annotated_cells,
    pseudo_mask,
    pseudo_mask_plain,
)
from methods.vrp_sam.loss import cosine_adamw, mask_losses
from methods.vrp_sam.networks import FIRST_DILATIONS, sam_square
from methods.vrp_sam.vrp_sam import enlarged, joined, labels
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Skipped, Tolerance, absolute, equal, relative
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.persam import tiny_sam


def rel(tol: float) -> Tolerance:
    """Allow tol x max(1e-3, max|ref|), as the index says."""
    return relative(tol, floor=tol * 1e-3)


CHANNELS = {"resnet50": (512, 1024), "vgg16": (256, 512)}
"""Channels of the outputs of layers 2 and 3."""
VALUES, GRADIENTS, LOOSE = rel(1e-5), rel(1e-4), rel(1e-4)


def annotation(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    masks, streams = t["in.mask"], AnnotationStreams.seeded(c["seed"])
    brush = SMALL if c["preset"] == "rand_curve_small" else LARGE
    if not c["training"]:
        drawn = draw_annotation(masks, c["condition"], streams)
    elif c["condition"] == "point":
        drawn = torch.stack([points(mask > 0, c["count"], streams.places) for mask in masks])
    else:
        drawn = torch.stack([scribble(mask > 0, c["count"], brush, streams) for mask in masks])
    yield case.compare("out.annotation", drawn, EXACT)
    yield case.compare("out.boxes", torch.tensor([box_corners(mask > 0) for mask in masks]), EXACT)
    streams = AnnotationStreams.seeded(c["seed"])
    if c["condition"] == "scribble":
        for i, mask in enumerate(masks):
            starts, strokes = new_strokes(mask > 0, c["count"] or 9, brush, streams)
            yield case.compare(f"mid.points_{i}", starts, absolute(1e-6))
            if not i:
                yield case.compare("mid.stroke_0", strokes[0].vertices.T, absolute(1e-6))


def hashed_trunk(config: dict) -> Trunk:
    """Return a case's trunk with weights by the formula over the authors' keys."""
    kind = config["backbone"]
    trunk = Trunk(kind, FIRST_DILATIONS, config["blocks"] or BLOCKS.get(kind))
    load_hashed(trunk, "")
    return trunk.eval().requires_grad_(False)


def load_hashed(module: nn.Module, prefix: str) -> None:
    """Give a module weights by the formula over the names that the authors' checkpoints have."""
    shapes = {prefix + name: value.shape for name, value in module.state_dict().items() if value.is_floating_point()}
    state = {name.removeprefix(prefix): value for name, value in hash_state(shapes).items()}
    missing, unknown = module.load_state_dict(state, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in missing)


def backbone(case: Case) -> Comparisons:
    c = case.config
    images = hash_values(c["tag"], (2, 3, *c["side"]), -2, 2)
    for number, values in zip((2, 3, 4), hashed_trunk(c).trunk(images), strict=True):
        yield case.compare(f"out.layer{number}", values[:, ::8], LOOSE)
        yield case.compare(f"out.layer{number}_l2", values.flatten(1).norm(dim=1), LOOSE)


def pseudo_masks(case: Case) -> Comparisons:
    t = case.tensors
    for function in (pseudo_mask, pseudo_mask_plain):
        found = function(t["in.support"], t["in.query"], t["in.mask"].float())
        yield case.compare("out.pseudo_mask", found, absolute(1e-5))


def position(case: Case) -> Comparisons:
    c = case.config
    yield case.compare("out.position", sine_code(2 * c["n"], c["h"], c["w"]), absolute(1e-5))


def prompt_generator(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    generator = PromptGenerator(c["C"], c["queries"], c["heads"])
    if c["hash"]:
        load_hashed(generator, "transformer_decoder.")
    else:
        generator.load_state_dict(case.state())
    query, support = (t[f"in.{name}"].requires_grad_() for name in ("query", "support"))
    steps = generator.steps(query, support)
    yield case.compare("out.prompts", steps.prompts, VALUES)
    yield case.compare("mid.cross_support", steps.cross_support, VALUES)
    yield case.compare("mid.self_0", steps.self_support, VALUES)
    yield case.compare("mid.cross_query", steps.cross_query, VALUES)
    (steps.prompts * t["in.weight"]).sum().backward()
    yield case.compare("grad.query", query.grad, GRADIENTS)
    yield case.compare("grad.support", support.grad, GRADIENTS)
    gradients = {name: parameter.grad for name, parameter in generator.named_parameters()}
    yield case.compare("grad.supp_q_feat.weight", gradients["supp_q_feat.weight"], GRADIENTS)
    projection = gradients["transformer_cross_attention_layers.0.multihead_attn.in_proj_weight"]
    thinned = projection[::16, ::8] if c["hash"] else projection
    yield case.compare("grad.cross_in_proj", thinned, GRADIENTS)
    norm = gradients["transformer_self_attention_layers_0.0.norm.weight"]
    yield case.compare("grad.self_0_norm", norm, GRADIENTS)


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


def encoder(case: Case) -> Comparisons:
    c = case.config
    net = small_encoder(case).eval()
    drawn = draw_annotation(case.tensors["in.mask"], c["condition"], AnnotationStreams.seeded(c["seed"]))
    yield case.compare("out.annotation", drawn, EXACT)
    cells = annotated_cells(drawn, c["side_f3"])
    found: Encoded = net(*given_features(case, cells), cells)
    yield case.compare("mid.support_mask", found.cells, EXACT)
    yield case.compare("mid.pseudo_mask", found.pseudo_mask, VALUES)
    yield case.compare("mid.prototype", found.prototype, VALUES)
    yield case.compare("mid.merged_query", found.query, VALUES)
    yield case.compare("mid.merged_support", found.support, VALUES)
    yield case.compare("out.prompts", found.steps.prompts, VALUES)


def predictions(case: Case, logits: Tensor) -> Comparison:
    """Compare masks where the logits are not near 0."""
    case.checked.add("out.pred")
    sure = logits.abs() > 1e-4 * logits.abs().max()
    found = torch.stack([labels(one[None]) for one in logits])
    stored = case.tensors["out.pred"].view_as(found)
    return equal("out.pred where it is sure", bool(((found == stored) | ~sure).all()), True)


def sam_decode(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    sam = tiny_sam(c["sam"], case.group("state.sam."))
    encodings = torch.stack([sam.encode_pixels(sam_square(x, c["sam"]["image"]))[0][0] for x in t["in.image"]])
    yield case.compare("mid.embedding", encodings, LOOSE)
    for given, tolerance in ((encodings, LOOSE), (t["mid.embedding"], VALUES)):
        low = sam.decode_embeddings(given, t["in.prompts"])
        logits = enlarged(low, (c["side"], c["side"]))
        yield case.compare("mid.low_res", low[:, None], tolerance)
        yield case.compare("out.logits", logits[:, None], tolerance)
        yield predictions(case, logits)


def loss(case: Case) -> Comparisons:
    t = case.tensors
    logits = t["in.logits"].requires_grad_()
    found = mask_losses(logits[:, 0], t["in.mask"])
    for name, ours in (("loss", "loss"), ("dice", "dice"), ("bce", "entropy")):
        yield case.compare(f"out.{name}", found[ours], relative(1e-6))
    found["loss"].backward()
    yield case.compare("grad.logits", logits.grad, relative(1e-6))


def schedule(case: Case) -> Comparisons:
    for given in case.data:
        items = -(-given["images"] // given["world"])
        steps = -(-items // given["batch"])
        yield equal(
            "steps of an epoch and in all", (steps, steps * given["epochs"]), (given["steps_per_epoch"], given["total"])
        )
        rates = dict(given["lr"])
        parameter = nn.Parameter(torch.zeros(1))
        made = cosine_adamw([parameter], case.config["lr"], 1e-6, given["total"])
        optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        found = {}
        for step in range(given["total"]):
            found[step] = optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()
        worst = max(abs(found[step] - rate) for step, rate in rates.items())
        yield equal(f"rates of {given['total']} steps", worst <= 1e-9 * 1e-4, True)


def train_steps(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    net = small_encoder(case).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sam = tiny_sam(c["sam"], case.group("state.sam."))
    made = cosine_adamw(net.parameters(), c["lr"], c["weight_decay"], c["total"])
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    group = optimizer.param_groups[0]
    yield equal("betas and eps of AdamW", (group["betas"], group["eps"]), ((0.9, 0.999), 1e-8))
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
        optimizer.zero_grad()
        value.backward()
        if not step:
            yield case.compare("out.logits_0", logits[:, None, ::2, ::2], rel(1e-4))
            yield case.compare("out.prompts_0", found.steps.prompts, rel(1e-4))
            for name, parameter in net.named_parameters():
                if f"grad.{name}" in t:
                    yield case.compare(f"grad.{name}", parameter.grad, rel(1e-3))
        optimizer.step()
        scheduler.step()
        losses.append(value.detach())
    yield case.compare("out.losses", torch.stack(losses), relative(5e-5))
    yield case.compare("mid.lr", torch.tensor(rates, dtype=torch.float64), absolute(1e-12))
    for step in range(c["steps"]):
        for turn, whose in enumerate(("query", "support")):
            yield case.compare(f"mid.dropout_{whose}_{step}", dropped[2 * step + turn], EXACT)
    yield equal("SAM has no gradients", all(p.grad is None for p in sam.model.parameters()), True)
    for name, value in net.state_dict().items():
        if f"out.after.{name}" in t:
            case.checked.add(f"out.after.{name}")
            yield moved_alike(name, value - before[name], t[f"out.after.{name}"] - before[name])


def keep_factors(into: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """Return a hook that keeps the factors (b, c) of a Dropout2d; a channel that is 0 everywhere counts as kept."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        alive = output.flatten(2).abs().amax(2) > 0
        empty = inputs[0].flatten(2).abs().amax(2) == 0
        into.append(torch.where(alive | empty, 2.0, 0.0))

    return hook


def moved_alike(name: str, found: Tensor, stored: Tensor) -> Comparison:
    """Compare movements of a parameter: 99 % of the entries within 2 % of the largest."""
    alike = (found - stored).abs() <= 2e-2 * stored.abs().max()
    return equal(f"out.after.{name}: 99 % within 2e-2*max|ref|", bool(alike.float().mean() >= 0.99), True)


METAS_NAMES = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\..*)\.proj_in\.", r"\1.layers.0."),
    (r"^(mask_decoder\..*)\.proj_out\.", r"\1.layers.2."),
    (r"^(mask_decoder\.(?:output_hyper|iou_pred).*)\.layers\.0\.", r"\1.layers.1."),
)  # fmt: skip
"""Names of SAM in transformers and Meta's; the first that fits."""


def metas_name(name: str) -> str:
    """Return Meta's name of a tensor of SAM in transformers."""
    for pattern, new in METAS_NAMES:
        renamed, count = re.subn(pattern, new, name)
        if count:
            return renamed
    return name


def hashed_sam(config: dict[str, Any]) -> PromptableNetwork:
    """Return a case's SAM with weights by the formula over Meta's names."""
    net = SamNet("SamModel", sam_settings(**config), WeightFile("tiny"), side=config["image"])
    own = new_network(net, "a golden").state_dict()
    shapes = {
        metas_name(k): v.shape for k, v in own.items() if k != "prompt_encoder.shared_embedding.positional_embedding"
    }
    values = hash_state({f"sam.{name}": shape for name, shape in shapes.items()})
    return tiny_sam(config, {name.removeprefix("sam."): value for name, value in values.items()})


def end_to_end(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    trunk, net, sam = (
        hashed_trunk(c),
        VisualPromptEncoder(CHANNELS[c["backbone"]], 256, c["queries"]),
        hashed_sam(c["sam"]),
    )
    load_hashed(net.eval(), "")
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
    yield case.compare("mid.prompts", prompts[:, ::5], LOOSE)
    yield case.compare("out.logits", logits[:, None], LOOSE)
    yield predictions(case, logits)


def preprocess(case: Case) -> Comparisons:
    """Images as protocols resize them and the batch normalises them, and what SAM sees of them."""
    c, t = case.config, case.tensors
    side, number = c["side"], c["class"] + 1
    image = resize_image(Image.fromarray(t["in.image"].byte().numpy()), side)
    pixels = normalise(image)
    square = sam_square(pixels, 2 * side)
    yield case.compare("out.image", pixels[:, ::3, ::3], absolute(1e-5))
    values = pixels.flatten(1).double()
    statistics = torch.stack([values.mean(1), values.std(1, correction=0)])
    yield case.compare("out.image_mean_std", statistics, absolute(1e-5))
    yield case.compare("out.sam_input", square[:, ::5, ::5], absolute(1e-5))
    small = way_labels(resize_labels(t["in.label"].byte().numpy(), side, side), [number])
    yield case.compare("out.mask", small == 1, EXACT)
    yield case.compare("out.ignore", small == VOID, EXACT)


def metrics(case: Case) -> Comparisons:
    """Predictions as the method makes them, counted as the protocol `hsnet` counts."""
    t, fold = case.tensors, case.config["fold"]
    truth = t["in.mask"].clone()
    if "in.ignore" in t:
        truth[t["in.ignore"] > 0] = VOID
    pairs = zip(t["in.logits"], truth, strict=True)
    counts = np.stack([count(labels(logits), label, 1).numpy() for logits, label in pairs])
    background = background_intersection_union(counts[:, 0], "ignore")
    foreground = intersection_union(counts[:, 1], "ignore")
    order = [background[0], foreground[0], background[1], foreground[1]]
    yield case.compare("out.counts", np.stack(order, 1), EXACT)
    pascal = case.config["data_set"] == "pascal"
    classes = [5 * fold + i for i in range(5)] if pascal else list(range(fold, 80, 4))
    inter, union = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    for number, i, u in zip(t["in.class"].tolist(), *foreground, strict=True):
        inter[classes.index(number)] += i
        union[classes.index(number)] += u
    yield case.compare("out.miou", mean_iou(inter, union), relative(1e-5))
    yield case.compare("out.fb_iou", fb_iou(inter, union, (background[0].sum(), background[1].sum())), relative(1e-5))


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
    return [[e.index, e.query_class - 1, e.query, list(e.supports[0])] for e in episodes]


def episodes(case: Case) -> Comparisons:
    c, pool = case.config, case_pool(case)
    yield equal("seed of the authors", c["seed"], SEED)
    if c["split"] == "val":
        found = [
            episode_rows(
                islice(validation_episodes(pool, EpisodeStreams.seeded(SEED), c["shot"], process, c["world"]), 60)
            )
            for process in range(c["world"])
        ]
    else:
        division = Division(c["world"], c["batch"], c["workers"])
        processes = training_epoch(pool, c["epoch"], c["shot"], division)
        items = -(-c["len"] // c["world"])
        yield equal("items of a process", {len(drawn) for drawn in processes}, {items})
        found = [episode_rows(drawn[:60]) for drawn in processes]
    for process, (ours, stored) in enumerate(zip(found, case.data["episodes"], strict=True)):
        yield equal(f"process {process}: {len(stored)} episodes", ours[: len(stored)], stored)


def validation_stream(case: Case) -> Comparisons:
    """Episodes and annotations of one process, which take turns in the same streams."""
    c, t = case.config, case.tensors
    images_of: dict[int, list[str]] = {}
    for number, image in t["in.classwise"].tolist():
        images_of.setdefault(number + 1, []).append(str(image))
    pairs = [(name, number) for number, names in images_of.items() for name in names]
    pool = Pool(pairs, images_of, sorted(images_of), "class_first")
    annotations = AnnotationStreams.seeded(c["seed"])
    torch.empty((), dtype=torch.int64).random_(generator=annotations.places)  # the loader's own draw
    drawn = validation_episodes(pool, EpisodeStreams(random.Random(c["seed"]), annotations.strokes), 1)
    rows, maps = [], []
    for _ in range(c["episodes"] // 2):
        batch = list(islice(drawn, 2))
        rows += [[e.query_class - 1, int(e.query), int(e.supports[0][0])] for e in batch]
        masks = t["in.masks"][[int(e.supports[0][0]) for e in batch]]
        maps.append(draw_annotation(masks, c["condition"], annotations))
    yield case.compare("out.episodes", torch.tensor(rows), EXACT)
    yield case.compare("out.annotation", torch.cat(maps), EXACT)


def official_episodes(case: Case) -> Comparisons:
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
    drawn = islice(validation_episodes(pool, EpisodeStreams.seeded(c["seed"]), c["shot"], processes=1), len(case.data))
    yield equal(f"{len(case.data)} episodes", episode_rows(drawn), case.data)


KINDS = {
    "vrp_episodes": episodes,
    "vrp_validation_stream": validation_stream,
    "vrp_official_episodes": official_episodes,
    "vrp_annotation": annotation,
    "vrp_backbone": backbone,
    "vrp_pseudo_mask": pseudo_masks,
    "vrp_position": position,
    "vrp_prompt_generator": prompt_generator,
    "vrp_encoder": encoder,
    "vrp_sam_decode": sam_decode,
    "vrp_loss": loss,
    "vrp_schedule": schedule,
    "vrp_train_steps": train_steps,
    "vrp_end_to_end": end_to_end,
    "vrp_preprocess": preprocess,
    "vrp_metrics": metrics,
}
