"""SANSA: adapters, SAM 2 as a frozen network, prompts, pseudo-video, loss and training steps (sansa.md §8)."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fsbench.data.support_annotation import LARGE, SMALL, AnnotationStreams, points, scribble
from fsbench.methods.sansa.adapters import Adapter, AdapterFile, Adapters, adapter_shapes
from fsbench.methods.sansa.prompts import Kind as PromptKind
from fsbench.methods.sansa.prompts import in_square, pixel_points, prompt_mask, prompt_points
from fsbench.methods.sansa.pseudo_video import Frame, prompted_frame, target_frame
from fsbench.methods.sansa.sansa import adamw_with_cosine, full_size, losses_by_video, mean_losses
from fsbench.networks.backbones.sam2_sam3 import (
    HIERA,
    PointPrompts,
    Sam2VideoNet,
    finish_encoding,
    frozen_stages,
    hiera_settings,
    memory_of_frames,
    names_for_videos,
    new_sam2_video,
    position_code,
    sam2_video_settings,
    set_memory_dropout,
)
from fsbench.networks.weights.table import WeightFile
from tests.goldens.cases import Case
from tests.goldens.declared import Clear, Kind, Parts, Results, Same, absolute, change, few, proportional, relative
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.networks import copies, gradients, load_hashed, weighted_loss

OFFICIAL = (
    (r"^vision_encoder\.backbone\.patch_embed\.projection", "image_encoder.trunk.patch_embed.proj"),
    (r"^vision_encoder\.backbone\.(blocks\.\d+)\.layer_norm", r"image_encoder.trunk.\1.norm"),
    (r"^vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_in", r"image_encoder.trunk.\1.layers.0"),
    (r"^vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_out", r"image_encoder.trunk.\1.layers.1"),
    (r"^vision_encoder\.backbone", "image_encoder.trunk"),
    (r"^vision_encoder\.neck\.convs\.(\d)", r"image_encoder.neck.convs.\1.conv"),
    (r"^memory_attention\.layer_norm", "memory_attention.norm"),
    (r"^(memory_attention\.layers\.\d)\.layer_norm", r"\1.norm"),
    (r"^(memory_attention.*)\.o_proj", r"\1.out_proj"),
    (r"mask_downsampler\.final_conv", "mask_downsampler.encoder.12"),
    (r"memory_encoder\.feature_projection", "memory_encoder.pix_feat_proj"),
    (r"memory_encoder\.projection", "memory_encoder.out_proj"),
    (r"memory_fuser\.(layers\.\d)\.depthwise_conv", r"fuser.\1.dwconv"),
    (r"memory_fuser\.(layers\.\d)\.layer_norm", r"fuser.\1.norm"),
    (r"memory_fuser\.(layers\.\d)\.pointwise_conv", r"fuser.\1.pwconv"),
    (r"memory_fuser\.(layers\.\d)\.scale", r"fuser.\1.gamma"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^object_pointer_proj\.proj_in", "obj_ptr_proj.layers.0"),
    (r"^object_pointer_proj\.layers\.0", "obj_ptr_proj.layers.1"),
    (r"^object_pointer_proj\.proj_out", "obj_ptr_proj.layers.2"),
    (r"^shared_image_embedding\.positional_embedding",
     "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.mask_embed\.conv1", "sam_prompt_encoder.mask_downscaling.0"),
    (r"^prompt_encoder\.mask_embed\.layer_norm1", "sam_prompt_encoder.mask_downscaling.1"),
    (r"^prompt_encoder\.mask_embed\.conv2", "sam_prompt_encoder.mask_downscaling.3"),
    (r"^prompt_encoder\.mask_embed\.layer_norm2", "sam_prompt_encoder.mask_downscaling.4"),
    (r"^prompt_encoder\.mask_embed\.conv3", "sam_prompt_encoder.mask_downscaling.6"),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.upscale_conv1", "sam_mask_decoder.output_upscaling.0"),
    (r"^mask_decoder\.upscale_layer_norm", "sam_mask_decoder.output_upscaling.1"),
    (r"^mask_decoder\.upscale_conv2", "sam_mask_decoder.output_upscaling.3"),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn", "sam_mask_decoder.transformer.norm_final_attn"),
    (r"^mask_decoder\.(transformer\.layers\.\d)\.layer_norm", r"sam_mask_decoder.\1.norm"),
    (r"^mask_decoder\.(transformer.*mlp)\.proj_in", r"sam_mask_decoder.\1.layers.0"),
    (r"^mask_decoder\.(transformer.*mlp)\.proj_out", r"sam_mask_decoder.\1.layers.1"),
    (r"^mask_decoder\.(transformer.*)\.o_proj", r"sam_mask_decoder.\1.out_proj"),
    (r"^mask_decoder\.(.*(?:mlps\.\d|head))\.layers\.0", r"sam_mask_decoder.\1.layers.1"),
    (r"^mask_decoder\.(.*(?:mlps\.\d|head))\.proj_in", r"sam_mask_decoder.\1.layers.0"),
    (r"^mask_decoder\.(.*(?:mlps\.\d|head))\.proj_out", r"sam_mask_decoder.\1.layers.2"),
    (r"^mask_decoder\.", "sam_mask_decoder."),
)  # fmt: skip
"""Names of transformers' SAM 2 and those of its authors, whose hash gives the weights; the first that fits counts."""


def official_names(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return shapes of SAM 2's tensors under its authors' names, read backwards from those of transformers."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            continue  # a copy
        if name == "prompt_encoder.point_embed.weight":
            found |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": (1, shape[1]) for i in range(shape[0])}
            continue
        if downsampler := re.match(r"^(memory_encoder\.mask_downsampler)\.layers\.(\d)\.(conv|layer_norm)(.*)", name):
            place = 3 * int(downsampler[2]) + (downsampler[3] == "layer_norm")
            found[f"{downsampler[1]}.encoder.{place}{downsampler[4]}"] = shape
            continue
        for pattern, other in OFFICIAL:
            name, count = re.subn(pattern, other, name)
            if count:
                break
        found[name] = shape
    return found


def tiny_sam(config: dict[str, Any]) -> tuple[Any, Adapters]:
    """Build a case's SAM 2 and adapters with weights by the hash of their official names."""
    hiera = hiera_settings(
        config["embed"],
        config["heads"],
        {
            "blocks_per_stage": config["stages"],
            "global_attention_blocks": config["global_blocks"],
            "window_size_per_stage": config["windows"],
            "window_positional_embedding_background_size": [7, 7],
        },
    )
    settings = sam2_video_settings(
        hiera, config["image"], config["width"], config["memory_layers"], config["memory_mlp"]
    )
    model = new_sam2_video(Sam2VideoNet("Sam2VideoModel", settings, WeightFile("tiny"), config["image"]), "a golden")
    names = official_names({name: tuple(value.shape) for name, value in model.state_dict().items()})
    hashed = hash_state({f"sam.{name}": shape for name, shape in names.items()})
    own = names_for_videos({name.removeprefix("sam."): value for name, value in hashed.items()})
    model.load_state_dict(own)
    adapters = Adapters(adapter_shapes(config["embed"], config["stages"], config["adapter_stages"], config["factor"]))
    released = AdapterFile().join({f"adapters.{k}": v for k, v in adapters.state_dict().items()}, {})["model"]
    hashed = hash_state({name: tuple(value.shape) for name, value in released.items()})
    split = AdapterFile().split(hashed)
    assert split is not None
    adapters.load_state_dict({name.removeprefix("adapters."): value for name, value in split[0].items()})
    return model, adapters


def adapter(case: Case) -> Results:
    t, c = case.tensors, case.config
    branch = Adapter(c["channels"], c["bottleneck"])
    if case.state():
        branch.load_state_dict(case.state())
    else:
        load_hashed(branch)
    y = branch(t["in.x"].requires_grad_())
    return {"out.y": y, "grad.": gradients(weighted_loss(case, weight=y), branch, x=t["in.x"])}


def layout(case: Case) -> Parts:
    for row in case.data:
        channels, _, settings = HIERA[{"base": "base_plus"}.get(row["version"], row["version"])]
        shapes = adapter_shapes(channels, settings["blocks_per_stage"], row["stages"], row["factor"])
        with torch.device("meta"):
            trainable = sum(parameter.numel() for parameter in Adapters(shapes).parameters())
        yield {
            f"{row['version']}: adapters": Same([list(shape) for shape in shapes], row["adapters"]),
            f"{row['version']}: trainable": Same(trainable, row["trainable"]),
        }


def encoder(case: Case) -> Results:
    c = case.config
    model, adapters = tiny_sam(c)
    images = hash_values(c["tag"], (c["b"], 3, c["image"], c["image"]), -2, 2)
    with torch.no_grad():
        encoded = finish_encoding(model, frozen_stages(model, images, 2), adapters)
        whole = finish_encoding(model, frozen_stages(model, images, 0), adapters)
    return {
        "out.level0": encoded.fine[0][:, :, ::4, ::4],
        "out.level1": encoded.fine[1],
        "out.level2": encoded.deep,
        "out.position": position_code(model, c["width"], images.device),
        "stages at once": Same(torch.equal(whole.deep, encoded.deep), True),
    }


def draw_prompt(case: Case) -> PointPrompts:
    """Draw the points of a case, whose training has given numbers."""
    c, mask = case.config, case.tensors["in.mask"]
    streams = AnnotationStreams.seeded(c["seed"])
    if not c["training"]:
        return prompt_points(mask, c["prompt"], streams)
    if c["prompt"] == "point":
        drawn = points(mask > 0, c["count"], streams.places)
    else:
        brush = SMALL if c["preset"] == "rand_curve_small" else LARGE
        drawn = scribble(mask > 0, c["count"], brush, streams, idle_draws=False)
    found = pixel_points(drawn)
    return PointPrompts(found[None], torch.ones(1, len(found), dtype=torch.int64))


def prompt(case: Case) -> Results:
    c, mask = case.config, case.tensors["in.mask"]
    if c["prompt"] == "mask":
        return {"out.mask": prompt_mask(mask[None], c["dest"])[0]}
    drawn = draw_prompt(case)
    moved = in_square(drawn, (mask.shape[0], mask.shape[1]), c["dest"])
    return {"mid.points": drawn.points, "out.points": moved.points, "out.labels": moved.labels}


def loss(case: Case) -> Results:
    c, t = case.config, case.tensors
    logits = t["in.logits"].requires_grad_()
    split = logits.unflatten(0, (c["b"], c["T"]))[:, -c["frames"] :]
    focal, dice = mean_losses(losses_by_video(split, t["in.mask"][:, -c["frames"] :]))
    return {"out.": {"focal": focal, "dice": dice}, "grad.": gradients(focal + dice, logits=logits)}


def video(case: Case, model: Any, adapters: Adapters, kinds: list[PromptKind], frames: int) -> list[Frame]:
    """Run the videos of a case, whose first frames are prompted; prompts are drawn video by video."""
    c, masks = case.config, case.tensors["in.mask"]
    videos, size = c["B"], (c["side"], c["side"])
    images = hash_values(c["tag"], (videos, frames, 3, *size), -2, 2).flatten(0, 1)
    encoded = finish_encoding(model, frozen_stages(model, images, 2), adapters)
    streams = AnnotationStreams.seeded(c["seed"])
    prompts = [
        [masks[b, k] if kind == "mask" else prompt_points(masks[b, k], kind, streams) for k, kind in enumerate(kinds)]
        for b in range(videos)
    ]
    found: list[Frame] = []
    for t in range(frames):
        frame = encoded[[b * frames + t for b in range(videos)]]
        if t < len(kinds):
            found.append(prompted_frame(model, frame, [own[t] for own in prompts], size))
        else:
            logits, pointer = target_frame(model, frame, found)
            found.append(Frame(logits, pointer, memory_of_frames(model, frame.deep, logits), logits))
    return found


def by_videos(values: Iterable[Tensor]) -> Tensor:
    """Join what frames (b, ...) have, video by video: (b times T, ...)."""
    return torch.stack(list(values), 1).flatten(0, 1)


def end_to_end(case: Case) -> Results:
    c = case.config
    model, adapters = tiny_sam(c)
    conditioned: list[Tensor] = []
    model.memory_attention.register_forward_hook(lambda _, __, out: conditioned.append(out[0]))
    with torch.no_grad():
        frames = video(case, model, adapters, c["prompts"], c["K"] + c["targets"])
    low_res, pointer, memory, _ = map(by_videos, zip(*frames, strict=True))
    logits = full_size(low_res, (c["side"], c["side"]))
    maps = [tokens.transpose(1, 2).unflatten(2, memory.shape[-2:]) for tokens in conditioned]
    return {
        "mid.low_res": low_res[:, ::2, ::2],
        "mid.pointer": pointer,
        "mid.memory": memory[:, ::4],
        "mid.conditioned": by_videos(maps)[:, ::4],
        "out.logits": logits,
        "out.pred": Clear(logits > 0, logits.abs() > 1e-4 * logits.abs().max()),
    }


def train_steps(case: Case) -> Parts:
    c, t = case.config, case.tensors
    model, adapters = tiny_sam(c)
    set_memory_dropout(model, 0.0)
    before = copies(adapters)
    optimizer, scheduler = adamw_with_cosine(adapters.parameters(), 1e-4, c["total"])
    counted_from = 1 if c["prompt"] == "mask" else 0
    losses, norms, rates = [], [], []
    for step in range(c["steps"]):
        frames = video(case, model, adapters, [c["prompt"]] * c["K"], c["K"] + 1)
        logits = full_size(by_videos(frame.low_res for frame in frames), (c["side"], c["side"]))
        split = logits.unflatten(0, (c["B"], -1))
        focal, dice = mean_losses(losses_by_video(split[:, counted_from:], t["in.mask"][:, counted_from:]))
        optimizer.zero_grad()
        found = gradients(focal + dice, adapters)
        if not step:
            yield {"out.logits_0": logits[:, ::2, ::2], "grad.": {official(k): v for k, v in found.items()}}
        rates.append(optimizer.param_groups[0]["lr"])
        norms.append(torch.nn.utils.clip_grad_norm_(adapters.parameters(), 0.1))
        losses.append(torch.stack([focal.detach(), dice.detach()]))
        optimizer.step()
        scheduler.step()
    yield {"out.losses": torch.stack(losses), "out.norms": torch.stack(norms), "mid.lr": rates}
    yield {"out.after.": {official(k): change(v, before[k]) for k, v in adapters.named_parameters()}}


def official(name: str) -> str:
    """Return the authors' name of a parameter of `Adapters`."""
    return str(next(iter(AdapterFile().join({f"adapters.{name}": torch.empty(0)}, {})["model"])))


def schedule(case: Case) -> Parts:
    """Steps of an epoch: whole batches that processes share; a process's block of a permutation that the epoch seeds.

    What the authors' workers draw for an image cannot be repeated, so that no training here has their order.
    """
    for row in case.data:
        images, processes, name = row["images"], row["world"], f"{row['images']} images"
        share = -(-images // processes)
        steps = share // (row["batch"] // processes)
        order = torch.randperm(images, generator=torch.Generator().manual_seed(1)).tolist()
        last = (order + order[: share * processes - images])[-share:]
        yield {
            f"{name}: steps": Same([steps, steps * row["epochs"]], [row["steps"], row["total"]]),
            f"{name}: order": Same(last[:8], row["rank1_first"]),
        }


ENTRIES = proportional(1e-3)
TRAINED = {
    "grad.": relative(2e-3),
    "mid.lr": absolute(1e-12),
    "out.logits_0": relative(1e-3),
    "out.losses": ENTRIES,
    "out.norms": ENTRIES,
    "out.after.": few(0.01, rest=relative(2e-2)),
}
POINTS = {"mid.points": absolute(1e-4), "out.points": absolute(1e-4)}
KINDS = {
    "sansa_adapter": Kind(adapter, {"": relative(1e-6)}),  # below what another eps of the norm would change
    "sansa_layout": Kind(layout),
    "sansa_encoder": Kind(encoder, {"": relative(1e-4)}),
    "sansa_prompt": Kind(prompt, POINTS),
    "sansa_loss": Kind(loss, {"": relative(1e-5)}),
    "sansa_end_to_end": Kind(end_to_end, {"": relative(1e-4)}),
    "sansa_train_steps": Kind(train_steps, TRAINED),
    "sansa_schedule": Kind(schedule),
}
