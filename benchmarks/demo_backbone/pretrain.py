"""Pre-train the demo's ViT on classes that the demo does not show.

    python -m benchmarks.demo_backbone.pretrain [--out FILE] [--seed 0] [--steps 4500]

The weights come with the repository (`fsbench/networks/backbones/weights`); this program is how they were made. Who
renews them also renews `DEMO_WEIGHTS_SHA256` in `fsbench.networks.backbones.timm_networks`, and every figure that
stands on them. `pretrain_data` draws the scenes.

Dense supervision: every patch predicts its class by the cosines of its token's heads, in the last block and the ones
before it, so that correlations of tokens mean something between images as they do for DINO's; and its shape and its
texture. The class token predicts which classes the scene shows. About 40 minutes on one core. Seeded, but floating
point sums differ between machines, and so do the last digits of the weights.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.demo_backbone.pretrain_data import CLASSES, Batch, SceneStream, attributes
from fsbench.networks.backbones.timm_networks import DEMO_IMAGE_SIZE, DEMO_TABLE_SIDE, DEMO_VIT, DEMO_WEIGHTS

STEPS, BATCH, WARMUP = 4500, 24, 200
"""Training steps, scenes a step, and steps of the learning rate's warm-up."""
RATE, MATRIX_RATE = 2e-3, 4e-3
"""Learning rates of AdamW and of Muon, which learns the blocks' matrices in half the steps."""
SCALE = 12.0
"""Factor on the cosines between tokens and class vectors."""
LAYERS = [2, 3, 4, 5]
"""Blocks whose tokens tell the classes apart by cosine; methods correlate the tokens of all of them."""
DEEP = 0.3
"""Weight of the losses of the blocks before the last one."""
HELD_OUT_SEED = 1_000_003
"""Seed of the scenes that accuracy is measured on."""


def new_vit() -> Any:
    """Build the demo's ViT, timm's class, with freshly initialized weights.

    timm's initial weights (0.02) suit wide models; here they are scaled to the width, and the position table starts
    as sines and cosines, which spares the ViT learning what lies next to what.
    """
    from timm.models.vision_transformer import VisionTransformer

    vit: Any = VisionTransformer(**DEMO_VIT, img_size=DEMO_IMAGE_SIZE, num_classes=0)
    for block in vit.blocks:
        block.attn.fused_attn = False  # slower on CPU at this width
        for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            nn.init.trunc_normal_(linear.weight, std=linear.in_features**-0.5)
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.data /= (2 * len(vit.blocks)) ** 0.5
    quarter = DEMO_VIT["embed_dim"] // 4
    frequency = 10.0 ** (-2 * torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(DEMO_TABLE_SIDE), torch.arange(DEMO_TABLE_SIDE), indexing="ij")
    phases = [axis.reshape(-1, 1) * frequency for axis in (column, row)]
    vit.pos_embed.data[0, 1:] = 0.5 * torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], 1)
    return vit


class Heads(nn.Module):
    """Heads that predict from the tokens while pre-training, and are thrown away afterwards."""

    def __init__(self, width: int):
        super().__init__()
        shapes, patterns = attributes()
        self.shapes: Tensor
        self.patterns: Tensor
        self.register_buffer("shapes", shapes)
        self.register_buffer("patterns", patterns)
        self.classes = nn.Parameter(torch.randn(len(LAYERS), CLASSES + 1, width) * 0.1)
        self.shape = nn.Linear(width, shapes.shape[1])
        self.pattern = nn.Linear(width, patterns.shape[1])
        self.present = nn.Linear(width, CLASSES)

    def class_logits(self, patches: Tensor, layer: int = -1) -> Tensor:
        """Return logits (B, T, 1 + C) of patch tokens (B, T, width): cosines, averaged over the ViT's heads.

        Args:
            patches: tokens of one of `LAYERS`.
            layer: its place in `LAYERS`.
        """
        token, vector = (by_head(t) for t in (patches, self.classes[layer]))
        return SCALE / DEMO_VIT["num_heads"] * token @ vector.T

    def loss(self, layers: list[tuple[Tensor, Tensor]], batch: Batch) -> Tensor:
        """Return the scalar loss of the patch tokens (B, T, width) and prefix tokens (B, 1, width) of `LAYERS`."""
        patches, prefix = layers[-1]
        last = (
            (self.class_logits(patches), batch.shares),
            (self.shape(patches), batch.shares @ self.shapes),
            (self.pattern(patches), batch.shares @ self.patterns),
        )
        dense = torch.stack([_cross_entropy(logits, shares) for logits, shares in last]).sum(0)
        for layer, (tokens, _) in enumerate(layers[:-1]):
            dense = dense + DEEP * _cross_entropy(self.class_logits(tokens, layer), batch.shares)
        scene = F.binary_cross_entropy_with_logits(self.present(prefix[:, 0]), batch.present)
        return (dense * batch.weights).sum() / batch.weights.sum() + 2 * scene


def by_head(tokens: Tensor) -> Tensor:
    """Scale each head's share of the channels of tokens (..., width) to unit length."""
    return F.normalize(tokens.unflatten(-1, (DEMO_VIT["num_heads"], -1)), dim=-1).flatten(-2)


def _cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the cross entropy (B, T) of logits and target shares, both (B, T, n)."""
    return -(logits.log_softmax(-1) * shares).sum(-1)


def accuracy(vit: Any, heads: Heads, scenes: int = 512) -> float:
    """Return the share of patches of new scenes, those that show mostly an object, whose class is predicted right."""
    batch = SceneStream(HELD_OUT_SEED, pool=scenes).batch(scenes)
    objects = batch.shares[..., 0] < 0.5
    with torch.no_grad():
        predicted = torch.cat(
            [heads.class_logits(vit.forward_features(part)[:, 1:]).argmax(-1) for part in batch.pixels.split(64)]
        )
    return float((predicted == batch.shares.argmax(-1))[objects].float().mean())


def pretrain(seed: int, steps: int) -> tuple[Any, Heads]:
    """Train from scratch; a twentieth of the time goes to drawing scenes, the rest to the ViT."""
    from tqdm import tqdm

    torch.manual_seed(seed)
    stream = SceneStream(seed)
    vit = new_vit()
    heads = Heads(DEMO_VIT["embed_dim"])
    matrices = [p for name, p in vit.named_parameters() if name.startswith("blocks") and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in (*vit.parameters(), *heads.parameters()) if id(p) not in chosen]
    optimizers = [
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01),
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    ]

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP) * (0.51 + 0.49 * math.cos(math.pi * min(1.0, step / steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    progress = tqdm(range(steps), "Pre-training", mininterval=5)
    for step in progress:
        batch = stream.batch(BATCH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layers = vit.get_intermediate_layers(batch.pixels, LAYERS, return_prefix_tokens=True, norm=True)
        loss = heads.loss([(patches.float(), prefix.float()) for patches, prefix in layers], batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*vit.parameters(), *heads.parameters()], 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if step % 100 == 99:
            progress.set_postfix(loss=f"{loss.item():.3f}")
    return vit.eval(), heads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEMO_WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    start = time.perf_counter()
    vit, heads = pretrain(arguments.seed, arguments.steps)
    figures = {
        "seed": str(arguments.seed),
        "steps": str(arguments.steps),
        "batch": str(BATCH),
        "classes": "101-200 of fsbench.datamodules.datasets.demo.classes",
        "patch_accuracy": f"{accuracy(vit, heads):.3f}",
    }
    save(vit, arguments.out, figures)
    print(f"{arguments.out}: {figures}, {time.perf_counter() - start:.0f} s on {torch.get_num_threads()} threads")


def save(vit: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the weights in half precision: 1.4 MB, and far finer than what the weights owe to chance."""
    from safetensors.torch import save_file

    save_file({key: value.half().contiguous() for key, value in vit.state_dict().items()}, path, metadata)


if __name__ == "__main__":
    main()
