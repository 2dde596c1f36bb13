"""SegIC: preparation, features, correspondence, prompts, decoder, answers, video, training and test (segic.md)."""

import random
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, normalise
from fsbench.data.label_maps import letterbox_labels, letterbox_shape, letterboxed
from fsbench.data.transforms import letterbox_image
from fsbench.data.truth import EpisodeTruth
from fsbench.methods.segic.correspondence import best_points, prototypes, similarity
from fsbench.methods.segic.head import CODE, SegICHead, at_original, at_square, head_state, official_name
from fsbench.methods.segic.segic import NAMELESS, sentence
from fsbench.methods.segic.training import Side, both_directions, draw_turns, point_losses, step_losses
from fsbench.networks.backbones.timm_networks import SIZES, build_vit, new_vit, patch_maps
from fsbench.protocols.draws.segic import draw_lvis, lvis_fold, process_episodes, process_streams
from fsbench.protocols.reading import load_protocol
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.confusion import intersection_union
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Results, Same, absolute, few, proportional, relative
from tests.goldens.hashed import hash_state, hash_values, tag_of
from tests.goldens.kinds.fss_protocol import official_pool
from tests.goldens.meters import protocol_statistics

PATCH = 14
TEXT_WIDTH = 768
INSTANCES = "please segment the instances"
"""Text of objects without a class (§5)."""


def text_vector(text: str) -> Tensor:
    """Return the vector that stands for CLIP's of a text (index, about text)."""
    return hash_values(tag_of(text), (TEXT_WIDTH,), -1, 1)


def hashed_head(channels: int) -> SegICHead:
    """Build the learned part with weights by formula over the authors' names, read as a released file is."""
    head = SegICHead(channels, PATCH)
    shapes = {official_name(name): value.shape for name, value in head.state_dict().items()}
    head.load_state_dict(head_state(hash_state(shapes)))
    return head.eval()


@torch.no_grad()
def dino_maps(config: dict[str, Any], *images: Tensor) -> Tensor:
    """Return the features (b, C, g, g) of images (3, S, S) by a case's DINOv2 with weights by formula."""
    arguments = {"patch_size": PATCH, "init_values": 1e-5, **SIZES[config["dinov2"]], "depth": config["depth"]}
    prefix = "encoder.dinov2."
    own = new_vit(arguments, PATCH * 37).state_dict()
    # the authors' names are timm's, with a mask token beside them that features do not depend on
    state = hash_state({prefix + name: value.shape for name, value in own.items()})
    side = config["side"]
    network = build_vit(arguments, {name.removeprefix(prefix): value for name, value in state.items()}, side, side)
    return patch_maps(network, torch.stack(images), norm=True)


def channels(config: dict[str, Any]) -> int:
    return int(SIZES[config["dinov2"]]["embed_dim"])


def every(values: Tensor, step: int) -> Tensor:
    return values[..., ::step, ::step]


def square(image: Tensor, side: int) -> Tensor:
    """Return an image (3, H, W) as read from disk as the network sees it, (3, S, S)."""
    return normalise(letterbox_image(image.permute(1, 2, 0).numpy(), side))


def mask_square(label: Tensor, side: int) -> Tensor:
    """Return a mask (H, W) of 0 and 255 over the square, (S, S) of 0 and 1."""
    return torch.from_numpy(letterbox_labels((label.numpy() > 0).astype(np.uint8), side) == 1).float()


def cut(pixels: Tensor, size: list[int]) -> Tensor:
    """Return a padded image (3, S, S) from 0 to 255, normalised, and 0 outside of `size` (§2)."""
    inside = torch.zeros(pixels.shape)
    inside[:, : size[0], : size[1]] = normalise(pixels)[:, : size[0], : size[1]]
    return inside


def layout(case: Case) -> Results:
    head = SegICHead(channels(case.config), PATCH)
    stored = {official_name(name): list(value.shape) for name, value in head.state_dict().items()}
    return {
        "checkpoint": [[name, stored[name]] for name, _ in case.data["checkpoint"]]
        + sorted(stored.keys() - dict(case.data["checkpoint"]).keys()),
        "trainable_parameters": sum(p.numel() for name, p in head.named_parameters() if name != CODE),
        "encoder_input": 64 * PATCH,
        "similarity_side": 64 * PATCH,
        "feature_upsample": 64 * PATCH // 4,
        "mean": torch.tensor(IMAGENET_MEAN).tolist(),
        "std": torch.tensor(IMAGENET_STD).tolist(),
    }


def preprocess(case: Case) -> Results:
    side, found = case.config["side"], {}
    for i, size in enumerate(case.config["sizes"]):
        image, label = case.tensors[f"in.image{i}"], case.tensors[f"in.label{i}"]
        rows, columns = letterbox_shape(size[0], size[1], side)
        padded = torch.full((1, side, side), 128.0)
        padded[:, :rows, :columns] = letterbox_image(image.permute(1, 2, 0).numpy(), side)[:1, :rows, :columns]
        labels = torch.zeros(1, side, side)
        labels[:, :rows, :columns] = torch.from_numpy(letterboxed(label.numpy(), side))
        mask = torch.from_numpy(letterbox_labels((label[0].numpy() > 0).astype(np.uint8), side) == 1)[None]
        found |= {f"image{i}": padded, f"label{i}": labels, f"size{i}": torch.tensor([rows, columns]), f"mask{i}": mask}
    return {"out.": found}


def features(case: Case) -> Results:
    c = case.config
    sizes = c["sizes"]
    images = hash_values(c["tag"], (len(sizes), 3, c["side"], c["side"]), 0, 255)
    maps = dino_maps(c, *map(cut, images, sizes))
    return {"out.features_first32": maps[:, :32], "out.norm": maps.norm(dim=1)}


@torch.no_grad()
def prompt(case: Case) -> Results:
    c = case.config
    n, side, head = c["n"], c["side"], hashed_head(768)
    points = hash_values(c["tag"], (n, 2, 2), 0, side) if c["points"] else None
    labels = torch.tensor([[1, 0]]).expand(n, -1) if c["points"] else None
    boxes = hash_values(c["tag"] + 1, (n, 4), 0, side) if c["box"] else None
    masks = hash_values(c["tag"] + 2, (n, 1, side, side), -1, 1)
    no_map = head.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)  # which no program of the authors uses
    dense = head.prompt_encoder.mask_embed(masks) if c["mask"] else no_map.expand(n, -1, *2 * [side // PATCH])
    sparse = head.sparse(hash_values(c["tag"] + 3, (n, c["T"], 256), -1, 1), side, points, labels, boxes)
    return {"out.sparse": sparse, "out.dense_first32": dense[:, :32], "out.dense_norm": dense.norm(dim=1)}


@torch.no_grad()
def decoder(case: Case) -> Results:
    c = case.config
    grid, n, head = c["side"] // PATCH, c["n"], hashed_head(c["channels"])
    neck = head.neck_of(hash_values(c["tag"], (1, c["channels"], grid, grid), -2, 2)[0])
    sparse, dense = (
        hash_values(c["tag"] + 1, (n, c["T"], 256), -1, 1),
        hash_values(c["tag"] + 2, (n, 256, grid, grid), -1, 1),
    )
    masks, quality = zip(*(head.decode(neck, sparse, dense, multimask) for multimask in (False, True)), strict=True)
    position = head.position(grid)
    return {
        "mid.neck": neck,
        "mid.position": position,
        "out.masks": torch.cat(masks, 1),
        "out.quality": torch.cat(quality, 1),
    }


@torch.no_grad()
def answered(
    head: SegICHead,
    query: Tensor,
    found: Tensor,
    texts: Tensor,
    side: int,
    tau: float = 1.0,
    shared: Tensor | None = None,
) -> dict[str, Any]:
    """Return every step of an answer to a query (C, g, g).

    Args:
        head: learned part.
        query: features.
        found: prototypes (n, C) that are compared.
        texts: (n, ·).
        side: S.
        tau: divisor of similarities.
        shared: prototypes (n, m, C) of all answers, which a video tells each as well as the others' points.
    """
    used, own = found[:, None] if shared is None else shared, torch.eye(len(found), dtype=torch.bool)
    maps = similarity(found[:, None], query, side, tau)
    points, labels = best_points(maps)[:, None], torch.ones(len(found), 1)
    if shared is not None:
        points, labels = points[:, 0].expand(len(found), -1, -1), own.float()
    tokens = head.cross_tokens(texts, used.flatten(0, 1), own.repeat_interleave(used.shape[1], 1))
    steps: dict[str, Any] = {}

    def decoded(_: Any, args: Any, given: dict[str, Tensor], out: tuple[Tensor, ...]) -> None:
        steps.update(sparse=given["sparse_prompt_embeddings"][:, 0], dense=given["dense_prompt_embeddings"])
        steps.update(low_res=out[0][:, 0], quality=out[1][:, 0])

    with head.mask_decoder.register_forward_hook(decoded, with_kwargs=True):
        logits = at_square(head(head.neck_of(query), maps, tokens, points, labels), side)
    return steps | {
        "prototype": found, "similarity_every4": every(maps, 4), "points": points, "point_labels": labels,
        "tokens": tokens, "logits": logits,
    }  # fmt: skip


def correspondence(case: Case) -> Results:
    c = case.config
    shape = (1, c["channels"], c["grid"], c["grid"])
    query = hash_values(c["tag"], shape, -2, 2)[0]
    support = 0.6 * query + 0.4 * hash_values(c["tag"] + 1, shape, -2, 2)[0]
    found = prototypes(support, case.tensors["in.masks"])
    texts = text_vector(sentence("dog")).expand(c["n"], -1)
    steps = answered(hashed_head(c["channels"]), query, found, texts, c["side"], c["tau"])
    return {
        "out.": steps,
        "mid.": steps,
        "out.dense_first16": steps["dense"][:, :16],
        "out.dense_norm": steps["dense"].norm(dim=1),
        "out.logits_every4": every(steps["logits"], 4),
    }


def end_to_end(case: Case, class_name: str, is_inst: bool, no_text_eval: bool, side: int) -> Results:
    c, t = case.config, case.tensors
    size = tuple(t["in.query"].shape[1:])
    maps = dino_maps(c, square(t["in.query"], side), square(t["in.support"], side))
    masks = torch.stack([mask_square(mask, side) for mask in t["in.support_masks"]])
    text = INSTANCES if is_inst else NAMELESS if no_text_eval else sentence(class_name)
    texts = text_vector(text).expand(c["n"], -1)
    steps = answered(hashed_head(channels(c)), maps[0], prototypes(maps[1], masks), texts, side)
    inner = letterbox_shape(size[0], size[1], side)
    original = at_original(steps["logits"], inner, size)
    predicted, truth = original[:, 0] > 0, t["in.query_masks"] > 128
    return {
        "prompts": Same([text] * 2, c["prompts"]),
        "mid.": steps,
        "mid.features_first8": maps[:, :8],
        "out.quality": steps["quality"],
        "out.logits": steps["logits"][..., : inner[0], : inner[1]],
        "out.original_every2": every(original, 2),
        "out.pred": predicted,
        "out.intersection": (predicted & truth).sum(),
        "out.union": (predicted | truth).sum(),
    }


def references(case: Case, side: int, class_names: list[str]) -> Results:
    c, t = case.config, case.tensors
    images = [t["in.query"], *(t[f"in.reference{i}"] for i in range(c["R"]))]
    query, *supports = dino_maps(c, *(square(image, side) for image in images))
    found = []
    for i, support in enumerate(supports):
        values = torch.zeros(1, side, side)  # not made 0 and 1 before it is brought to the grid (§9)
        inner = torch.from_numpy(letterboxed(t[f"in.reference_mask{i}"][None].numpy(), side)) / 255
        values[:, : inner.shape[1], : inner.shape[2]] = inner
        found.append(prototypes(support, values)[0])
    texts = torch.stack([text_vector(sentence(name)) for name in class_names])
    steps = answered(hashed_head(channels(c)), query, torch.stack(found), texts, side)
    rows, columns = letterbox_shape(*t["in.query"].shape[1:], side)
    return {
        "mid.": steps,
        "mid.prototypes": torch.stack(found),
        "out.quality": steps["quality"],
        "out.logits": steps["logits"][..., :rows, :columns],
    }


def video(case: Case, frames: Tensor, masks: Tensor, side: int, size: list[int], original: list[int]) -> Results:
    """Segment frames by the first one's masks: prototypes of the first and of the last frame are used (§9)."""
    c, inside = case.config, (masks > 127.5).float()
    head, texts = hashed_head(channels(c)), text_vector(INSTANCES).expand(len(masks), -1)
    first, *others = dino_maps(c, *(cut(frame, size) for frame in frames))
    used, logits, found = prototypes(first, inside)[:, None], [inside[:, None]], {}
    for i, features in enumerate(others, 1):
        steps = answered(head, features, used[:, 0], texts, side, shared=used)
        found |= {f"{name}{i}": value for name, value in steps.items()}
        logits.append(steps["logits"])
        last = prototypes(features, steps["logits"][:, 0] > 0)
        used = torch.stack([used[:, 0], last], 1)
    maps = [at_original(one, tuple(size), tuple(original))[:, 0] for one in logits]
    labels = torch.stack([torch.where((own > 0).any(0), own.argmax(0) + 1, 0) for own in maps])
    return {"mid.": found, "out.labels": labels}


def global_points(count: int) -> Any:
    """Return what draws points of `count` masks from torch's own generator, as the authors do."""
    return lambda points: torch.rand(count, points, 2)


def training(case: Case) -> Results:
    c, t = case.config, case.tensors
    head, pairs = hashed_head(channels(c)).train(), len(c["sizes"])
    random.seed(c["seed"])
    turns = draw_turns(random, 2 * pairs)  # type: ignore[arg-type]  # the module draws as the object does
    named = [
        INSTANCES if c["is_inst"][i % pairs] else sentence(c["class_name"][i % pairs]) if turn.named else NAMELESS
        for i, turn in enumerate(turns)
    ]
    sides = []
    for role, texts in (("", named[:pairs]), ("_dual", named[pairs:])):
        maps = dino_maps(c, *map(cut, t[f"in.image{role}"], c[f"sizes{role}"]))
        masks = [(t[f"in.label{role}{i}"] > 127.5).float() for i in range(pairs)]
        sides.append([Side(*parts) for parts in zip(maps, masks, map(text_vector, texts), strict=True)])
    torch.manual_seed(c["seed"])  # networks draw, too
    forward, reverse = both_directions(head, *sides, turns)
    losses = step_losses(forward, reverse, *sides, global_points(len(forward)))
    losses["loss"].backward()
    grads = {official_name(name): p.grad for name, p in head.named_parameters() if p.grad is not None}
    missing = [official_name(name) for name, p in head.named_parameters() if p.grad is None and name != CODE]
    return {
        "prompts": Same(named, c["prompts"]),
        "boxes": Same([turn.boxed for turn in turns], c["boxes_used"]),
        "no gradient": Same(sorted(missing), sorted(c["no_gradient"])),
        "out.low_res": forward,
        "out.loss": losses["loss"],
        "out.loss_": losses,
        "grad.": grads,
        "grad.norms": torch.stack([grads[name].norm() for name in sorted(grads)]),
    }


def loss(case: Case) -> Results:
    c = case.config
    logits = hash_values(c["tag"], (c["n"], 1, c["H"], c["H"]), -4, 4).requires_grad_(True)
    torch.manual_seed(c["seed"])
    mask, dice = point_losses(logits, case.tensors["in.masks"], global_points(c["n"]))
    (mask + dice).backward()
    return {"out.": {"mask": mask, "dice": dice}, "grad.logits": logits.grad}


def meter(case: Case) -> Results:
    protocol = load_protocol("segic")
    results = []
    for i in range(case.config["episodes"]):
        label, number = case.tensors[f"in.label{i}"] > 128, int(case.tensors[f"in.class{i}"]) + 1
        logits = case.tensors[f"in.logits{i}"][None, None]
        truth, size = protocol.view.truth(label.numpy().astype(np.uint8), 112)
        maps = at_original(logits, (logits.shape[-2], logits.shape[-1]), size)[0, 0]
        known = EpisodeTruth(i, size, truth, np.array([bool(label.any())]), np.array([number]))
        results.append(protocol.count(SegmentationAnswer((maps > 0).numpy().astype(np.int64)), known))
    intersection, union = intersection_union(np.stack([each.counts[1] for each in results]), protocol.counting.void)
    rows = [row for each in results for row in each.rows()]
    statistics = protocol_statistics("segic", rows, list(range(1, 81)), dataset="coco")
    return {"out.": {"intersection": intersection, "union": union, "miou": statistics.scores()["mIoU"]}}


def rank_lines(case: Case) -> Results:
    c, text = case.config, case.data
    pool = official_pool(case, "coco", "val", c["fold"], "class_first")
    streams = process_streams(c["seed"], c["fold"], c["processes"], c["workers"])
    drawn = islice(process_episodes(pool, 1, streams), 1000)
    rows = []
    for one in drawn:
        turn, process = divmod(one.number, c["processes"])
        rows.append((process, turn, one.number, one.query_class - 1, one.query, one.supports[0][0]))
    found = ["\t".join(map(str, row)) for row in sorted(rows)]
    return {"1000 episodes": Same(found, text.splitlines())}


def lvis(case: Case) -> Results:
    c, data = case.config, case.data
    fold = lvis_fold(data["annotations"], c["fold"])
    rng = random.Random(c["seed"])
    return {
        "fold_class_ids": fold.categories,
        "key_order": list(fold.images_of),
        "image_order": fold.images,
        "episodes": [list(draw_lvis(fold, rng)) for _ in data["episodes"]],
    }


OF_LARGEST = relative(1e-4)
STEPS = {"": OF_LARGEST, "mid.points": EXACT, "out.points": EXACT, "mid.point_labels": EXACT}
KINDS = {
    "segic_layout": Kind(layout),
    "segic_preprocess": Kind(preprocess, {"out.": absolute(1e-3), "out.size": EXACT, "out.mask": EXACT}),
    "segic_features": Kind(features, STEPS),
    "segic_correspondence": Kind(correspondence, STEPS),
    "segic_prompt": Kind(prompt, STEPS),
    "segic_decoder": Kind(decoder, STEPS),
    "segic_end_to_end": Kind(
        end_to_end,
        {**STEPS, "out.pred": few(entries=3), "out.intersection": absolute(3), "out.union": absolute(3)},
    ),
    "segic_references": Kind(references, STEPS),
    "segic_video": Kind(video, {**STEPS, "out.labels": few(0.002)}),
    "segic_training": Kind(
        training, {"out.low_res": OF_LARGEST, "out.loss": proportional(1e-4), "grad.": relative(1e-3)}
    ),
    "segic_meter": Kind(meter, {"out.miou": absolute(1e-4)}),
    "segic_episodes": Kind(rank_lines),
    "segic_lvis": Kind(lvis),
    "segic_loss": Kind(loss, {"out.": absolute(1e-5), "grad.": relative(1e-4)}),
}
