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

from fsbench.core.shots import Shot, only
from fsbench.data import support_annotation as annotations
from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.support_annotation import AnnotationStreams, draw_annotation
from fsbench.data.transforms import resize_image
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.pspnet import BLOCKS, Features, Trunk
from fsbench.methods.vrp_sam import encoder as vrp
from fsbench.methods.vrp_sam import vrp_sam as method
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.sam import PromptableNetwork, SamNet, metas_name, sam_settings
from fsbench.networks.backbones.sam2_sam3 import sine_code
from fsbench.networks.weights.table import WeightFile
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.streams import Generators
from fsbench.protocols.episode_rules.vrp import SEED, Division, training_epoch, validation_episodes
from tests.goldens import networks as n
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import (
    EXACT,
    Clear,
    Kind,
    Near,
    Parts,
    Result,
    Results,
    Same,
    absolute,
    change,
    few,
    relative,
)
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.persam import rel, tiny_sam
from tests.goldens.meters import class_sums, row_of, truth_of
from tests.goldens.prior_guided import CHANNELS

VALUES, LOOSE = rel(1e-5), rel(1e-4)


def annotation(mask: Tensor, condition: str, preset: str, training: bool, seed: int, count: int | None = None) -> Parts:
    streams = AnnotationStreams.seeded(seed)
    brush = annotations.SMALL if preset == "rand_curve_small" else annotations.LARGE
    if not training:
        drawn = draw_annotation(mask, condition, streams)  # type: ignore[arg-type]
    elif condition == "point":
        drawn = torch.stack([annotations.points(one > 0, count, streams.places) for one in mask])
    else:
        drawn = torch.stack([annotations.scribble(one > 0, count, brush, streams) for one in mask])
    yield {"out.annotation": drawn, "out.boxes": torch.tensor([annotations.box_corners(one > 0) for one in mask])}
    streams = AnnotationStreams.seeded(seed)
    for i, one in enumerate(mask if condition == "scribble" else ()):
        starts, strokes = annotations.new_strokes(one > 0, count or 9, brush, streams)
        yield {f"mid.points_{i}": starts, "mid.stroke_0": None if i else strokes[0].vertices.T}


def hashed_trunk(backbone: Any, blocks: Any) -> Trunk:
    """Return a trunk with weights by the formula over the authors' keys."""
    trunk = Trunk(backbone, method.FIRST_DILATIONS, blocks or BLOCKS.get(backbone))
    return n.load_hashed(trunk).eval().requires_grad_(False)


def backbone(tag: int, side: list[int], backbone: str, blocks: Any) -> Results:
    maps = hashed_trunk(backbone, blocks).trunk(hash_values(tag, (2, 3, *side), -2, 2))
    layers = {f"layer{number}": x for number, x in zip((2, 3, 4), maps, strict=True)}
    lengths = {f"{name}_l2": x.flatten(1).norm(dim=1) for name, x in layers.items()}
    return {"out.": {name: x[:, ::8] for name, x in layers.items()} | lengths}


def pseudo_masks(support: Tensor, query: Tensor, mask: Tensor) -> Results:
    return {"out.pseudo_mask": vrp.pseudo_mask(support, query, mask.float())}


def position(n: int, h: int, w: int) -> Results:
    return {"out.position": sine_code(2 * n, h, w)}


ATTENTIONS = {
    "cross_attention_layers_0": "cross_support",
    "self_attention_layers_0": "self_0",
    "cross_attention_layers": "cross_query",
}


def prompt_generator(
    case: Case, C: int, queries: int, heads: int, hash_: bool, query: Tensor, support: Tensor
) -> Results:
    generator = vrp.PromptGenerator(C, queries, heads)
    if hash_:
        n.load_hashed(generator, lambda state: {f"transformer_decoder.{name}": x for name, x in state.items()})
    else:
        generator.load_state_dict(case.state())
    steps: dict[str, Tensor] = {}
    layers = {name: getattr(generator, f"transformer_{name}") for name in ATTENTIONS}
    n.record_outputs(steps, **{name: layer[0] for name, layer in layers.items()})
    prompts = generator(query.requires_grad_(), support.requires_grad_())
    found = n.gradients(n.weighted_loss(case, weight=prompts), generator, query=query, support=support)
    projection = found["transformer_cross_attention_layers.0.multihead_attn.in_proj_weight"]
    return {
        "out.prompts": prompts,
        "mid.": {name: steps[layer] for layer, name in ATTENTIONS.items()},
        "grad.": {name: found[name] for name in ("query", "support", "supp_q_feat.weight")},
        "grad.cross_in_proj": projection[::16, ::8] if hash_ else projection,
        "grad.self_0_norm": found["transformer_self_attention_layers_0.0.norm.weight"],
    }


def small_encoder(case: Case) -> vrp.VisualPromptEncoder:
    """Return a case's encoder of reduced widths with its weights."""
    c = case.config
    encoder = vrp.VisualPromptEncoder((c["f2"], c["f3"]), c["C"], c["queries"])
    return n.loaded(encoder, {k: v for k, v in case.state().items() if not k.startswith("sam.")})


def given_features(case: Case, cells: Tensor) -> tuple[Features, Features]:
    """Return query and support features, with the case's convolution as layer 4."""
    f2, f3, support2, support3, weight = (
        case.tensors[f"in.{name}"] for name in ("query_f2", "query_f3", "support_f2", "support_f3", "layer4_weight")
    )
    deep, other = (F.relu(F.conv2d(x, weight)) for x in (f3, support3 * cells))
    return Features(f2, f3, deep, None), Features(support2, support3, other, None)


def encoder(case: Case, mask: Tensor, condition: Any, seed: int, side_f3: int) -> Results:
    drawn = draw_annotation(mask, condition, AnnotationStreams.seeded(seed))
    cells = vrp.annotated_cells(drawn, side_f3)
    found: vrp.Encoded = small_encoder(case).eval()(*given_features(case, cells), cells)
    return {
        "out.annotation": drawn,
        "mid.support_mask": cells,
        "mid.": {"pseudo_mask": found.pseudo_mask, "prototype": found.prototype},
        "mid.merged_": {"query": found.query, "support": found.support},
        "out.prompts": found.prompts,
    }


def decided(logits: Tensor) -> Tensor:
    """Return the masks (b, H, W) that the method reads of logits."""
    shots = [Shot(one, None) for one in torch.stack([torch.zeros_like(logits), logits], 1)]
    return torch.stack([method.decided(only([shot])).foreground for shot in shots])


def predictions(logits: Tensor) -> Clear:
    """Return masks (b, H, W) of logits, clear where these are not near 0."""
    return Clear(decided(logits), logits.abs() > 1e-4 * logits.abs().max())


def sam_decode(case: Case, sam: dict[str, Any], side: int, image: Tensor, prompts: Tensor) -> Parts:
    network = tiny_sam(sam, case.group("state.sam."))
    encodings = torch.stack([network.encode_pixels(method.sam_square(x, sam["image"]))[0] for x in image])
    yield {"mid.embedding": encodings}
    for given, note in ((encodings, ""), (case.tensors["mid.embedding"], "of the stored embedding")):
        low = network.decode_embeddings(given, prompts)
        logits = resize(low[:, None], side)
        yield {"mid.low_res": Result(low[:, None], note=note), "out.logits": Result(logits, note=note)}
        yield {"out.pred": predictions(logits[:, 0])}


def loss(logits: Tensor, mask: Tensor) -> Results:
    found = method.mask_losses(logits.requires_grad_()[:, 0], mask)
    return {
        "out.": {"loss": found["loss"], "dice": found["dice"], "bce": found["entropy"]},
        "grad.": n.gradients(found["loss"], logits=logits),
    }


def schedule(case: Case, lr: float) -> Parts:
    for given in case.data:
        items = -(-given["images"] // given["world"])
        steps = -(-items // given["batch"])
        own = (steps, steps * given["epochs"])
        yield {"steps of an epoch and in all": Same(own, (given["steps_per_epoch"], given["total"]))}
        made = method.cosine_adamw([nn.Parameter(torch.zeros(1))], lr, 1e-6, given["total"])
        optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        found = {}
        for step in range(given["total"]):
            found[step] = optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()
        rates = dict(given["lr"])
        yield {f"rates of {given['total']} steps": Near([found[step] for step in rates], list(rates.values()))}


def train_steps(
    case: Case, sam: dict[str, Any], lr: float, weight_decay: float, total: int, condition: Any, seed: int, steps: int,
    side_f3: int, image: int, mask: Tensor, embedding: Tensor, query_mask: Tensor,
) -> Parts:  # fmt: skip
    net = small_encoder(case).train()
    before, network = n.copies(net), tiny_sam(sam, case.group("state.sam."))
    made = method.cosine_adamw(net.parameters(), lr, weight_decay, total)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    group = optimizer.param_groups[0]
    yield {"betas and eps of AdamW": Same((group["betas"], group["eps"]), ((0.9, 0.999), 1e-8))}
    dropped: list[Tensor] = []
    net.downsample_query[2].register_forward_hook(keep_factors(dropped))
    cells = vrp.annotated_cells(draw_annotation(mask, condition, AnnotationStreams.seeded(0)), side_f3)
    torch.manual_seed(seed)
    losses, rates = [], []
    for step in range(steps):
        rates.append(group["lr"])
        found: vrp.Encoded = net(*given_features(case, cells), cells)
        logits = resize(network.decode_embeddings(embedding, found.prompts)[:, None], image)
        value = method.mask_losses(logits[:, 0], query_mask)["loss"]
        losses.append(value.detach())
        gradients = n.optimizer_step(optimizer, value, net)
        scheduler.step()
        if not step:
            yield {"out.logits_0": logits[:, :, ::2, ::2], "out.prompts_0": found.prompts, "grad.": gradients}
    yield {
        "out.losses": torch.stack(losses),
        "mid.lr": rates,
        "mid.dropout_query_": dict(enumerate(dropped[::2])),
        "mid.dropout_support_": dict(enumerate(dropped[1::2])),
        "SAM has no gradients": Same(all(p.grad is None for p in network.model.parameters()), True),
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
    copy = "prompt_encoder.shared_embedding.positional_embedding"
    values = hash_state({f"sam.{metas_name(k)}": v.shape for k, v in own.items() if k != copy})
    return tiny_sam(config, {name.removeprefix("sam."): value for name, value in values.items()})


@torch.no_grad()
def end_to_end(
    backbone: str, blocks: Any, sam: dict[str, Any], queries: int, tag: int, shot: int, side: int, seed: int,
    condition: Any, original_size: Any, mask: Tensor,
) -> Results:  # fmt: skip
    trunk, network = hashed_trunk(backbone, blocks), hashed_sam(sam)
    net = n.load_hashed(vrp.VisualPromptEncoder(CHANNELS[backbone], 256, queries).eval())
    query = hash_values(tag, (1, 3, side, side), -2, 2)
    streams = AnnotationStreams.seeded(seed)
    drawn = torch.cat([draw_annotation(one[None], condition, streams) for one in mask[0]])
    f1, f2 = trunk.middle(hash_values(tag + 1, (1, shot, 3, side, side), -2, 2)[0])
    cells = vrp.annotated_cells(drawn, f2.shape[-1])
    found = net(Features(*trunk.trunk(query), None), Features(f1, f2, trunk.layer4(f2 * cells), None), cells)
    prompts = found.prompts.flatten(0, 1)[None]  # of all supports, in their order
    encoding = network.encode_pixels(method.sam_square(query[0], sam["image"]))
    logits = resize(network.decode_embeddings(encoding, prompts)[:, None], side)
    if original_size:
        logits = method.VRPSAM.resize(None, logits, tuple(original_size))
    return {"mid.prompts": prompts[:, ::5], "out.logits": logits, "out.pred": predictions(logits[:, 0])}


def preprocess(side: int, class_: int, image: np.ndarray, label: np.ndarray) -> Results:
    """Images as protocols resize them and the batch normalises them, and what SAM sees of them."""
    pixels = normalise(resize_image(Image.fromarray(image.astype(np.uint8)), side))
    values = pixels.flatten(1).double()
    small = way_labels(resize_labels(label.astype(np.uint8), side, side), [class_ + 1])
    return {
        "out.image": pixels[:, ::3, ::3],
        "out.image_mean_std": torch.stack([values.mean(1), values.std(1, correction=0)]),
        "out.sam_input": method.sam_square(pixels, 2 * side)[:, ::5, ::5],
        "out.mask": small == 1,
        "out.ignore": small == VOID,
    }


def metrics(case: Case, fold: int, data_set: str, logits: Tensor, class_: Tensor) -> Results:
    """Predictions as the method makes them, counted as the protocol `hsnet` counts."""
    classes = [5 * fold + i for i in range(5)] if data_set == "pascal" else list(range(fold, 80, 4))
    columns = [classes.index(number) for number in class_.tolist()]
    predicted = torch.cat([decided(one) for one in logits])
    sums = class_sums(predicted, truth_of(case, "in.mask"), columns, len(classes))
    return {"out.counts": np.concatenate([sums.inter, sums.union]).T, "out.": sums.scores}


def class_pool(images_of: dict[int, list[str]]) -> Pool:
    """Return a pool that draws the class first."""
    pairs = [(name, number) for number, names in images_of.items() for name in names]
    return Pool(pairs, images_of, sorted(images_of), "class_first")


def case_pool(data: dict[str, Any], data_set: str) -> Pool:
    """Return the pool of a case's synthetic lists."""
    images_of = {int(number) + 1: names for number, names in data["classwise"].items()}
    if data_set == "coco":
        return Pool([(name, 0) for name in data["images"]], images_of, sorted(images_of), "class_first")
    shown = {name: [number + 1 for number in numbers] for name, numbers in data["present"].items()}
    pairs = [(name, number) for name in data["images"] for number in shown[name]]
    return Pool(pairs, images_of, sorted(images_of), "image_first", shown.__getitem__)


def episode_rows(episodes: Iterable[Episode]) -> list[list[Any]]:
    """Return episodes as rows of the cases."""
    return [[e.number, *row_of(e)] for e in episodes]


def episodes(case: Case, data_set: str, seed: int, split: str, shot: int, world: int) -> Parts:
    c, pool = case.config, case_pool(case.data, data_set)
    yield {"seed of the authors": Same(seed, SEED)}
    if split == "val":
        streams = [validation_episodes(pool, Generators.seeded(SEED), shot, process, world) for process in range(world)]
        found = [episode_rows(islice(drawn, 60)) for drawn in streams]
    else:
        processes = training_epoch(pool, c["epoch"], shot, Division(world, c["batch"], c["workers"]))
        yield {"items of a process": Same({len(drawn) for drawn in processes}, {-(-c["len"] // world)})}
        found = [episode_rows(drawn[:60]) for drawn in processes]
    for process, (ours, stored) in enumerate(zip(found, case.data["episodes"], strict=True)):
        yield {f"process {process}: {len(stored)} episodes": Same(ours[: len(stored)], stored)}


def validation_stream(seed: int, episodes: int, condition: Any, classwise: Tensor, masks: Tensor) -> Results:
    """Episodes and annotations of one process, which take turns in the same streams."""
    images_of: dict[int, list[str]] = {}
    for number, image in classwise.tolist():
        images_of.setdefault(number + 1, []).append(str(image))
    streams = AnnotationStreams.seeded(seed)
    torch.empty((), dtype=torch.int64).random_(generator=streams.places)  # the loader's own draw
    drawn = validation_episodes(class_pool(images_of), Generators(random.Random(seed), streams.strokes), 1)
    rows, maps = [], []
    for _ in range(episodes // 2):
        batch = list(islice(drawn, 2))
        rows += [[e.query_class - 1, int(e.query), int(e.supports[0][0])] for e in batch]
        maps.append(draw_annotation(masks[[int(e.supports[0][0]) for e in batch]], condition, streams))
    return {"out.episodes": rows, "out.annotation": torch.cat(maps)}


def official_episodes(case: Case, fold: int, seed: int, shot: int) -> Results:
    order, members = (case.folder / "coco_val_image_order.txt.gz"), (case.folder.parent / "dcama/coco_val_order.txt.gz")
    if not order.is_file() or not members.is_file():
        raise Skipped(f"it needs {order.name} beside it and ../dcama/{members.name}")
    place = {name: i for i, name in enumerate(gzip.decompress(order.read_bytes()).decode().split())}
    listed = [line.split() for line in gzip.decompress(members.read_bytes()).decode().splitlines()]
    of_fold = [(int(number), names) for number, *names in listed if int(number) % 4 == fold]
    pool = class_pool({number + 1: sorted(names, key=place.__getitem__) for number, names in of_fold})
    drawn = islice(validation_episodes(pool, Generators.seeded(seed), shot, processes=1), len(case.data))
    return {f"{len(case.data)} episodes": Same(episode_rows(drawn), case.data)}


NEAR = absolute(1e-5)
TRAINED = {
    "out.": LOOSE,
    "out.losses": relative(5e-5),
    "out.after.": few(0.01, rest=relative(2e-2)),
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
