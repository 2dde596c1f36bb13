"""VRP-SAM beside the plain formulas: its pseudo mask, a training step, an episode, on networks of random weights."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.speed.harness import Case
from fsbench.backbones.beside_sam import BesideSamConfig
from fsbench.contract.episodes import segmentation_episode, training_batch
from fsbench.data.batch import EpisodeBatch
from methods.vrp_sam import VRPSAM
from methods.vrp_sam.encoder import pseudo_mask, pseudo_mask_plain


def cases(
    device: torch.device,
    trunk: str = "demo",
    sam: str = "sam_demo",
    side: int = 128,
    shots: int = 5,
    grid: int = 64,
    channels: int = 2048,
) -> Iterator[Case]:
    """Compare VRP-SAM with its formulas, each followed to the letter, after a check of the answers.

    Args:
        device: where it is computed.
        trunk: the network of the encoder; `vrp_vgg16` or `vrp_resnet50` for the authors'.
        sam: the promptable network; `sam_vit_b` for one of true size.
        side: of the images; 512 for the authors'.
        shots: supports of an episode.
        grid: side of the map whose pseudo mask is made.
        channels: of its features.
    """
    yield _pseudo_mask(device, grid, channels)
    yield _step(device, trunk, sam, side)
    yield _episode(device, trunk, sam, side, shots)


def _method(device: torch.device, trunk: str, sam: str) -> VRPSAM:
    torch.manual_seed(0)
    weights = None if trunk == "demo" else "random:0"
    width = 32 if sam == "sam_demo" else 256
    backbone = BesideSamConfig(trunk, weights, sam=sam, sam_weights="random:0")
    return VRPSAM(backbone, width=width).eval().to(device)


def _pseudo_mask(device: torch.device, grid: int, channels: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(1, channels, grid, grid, generator=generator).to(device) for _ in range(2))
    mask = torch.zeros(1, 1, grid, grid, device=device)
    mask[..., grid // 4 : grid // 2, grid // 4 : grid // 2] = 1  # a sixteenth of the image
    return Case(
        f"pseudo mask, {channels} x {grid} x {grid}, a sixteenth annotated",
        {
            "plain": lambda: pseudo_mask_plain(support, query, mask),
            "fsbench": lambda: pseudo_mask(support, query, mask),
        },
        lambda: float((pseudo_mask_plain(support, query, mask) - pseudo_mask(support, query, mask)).abs().max()),
        tolerance=1e-5,
    )


def _step(device: torch.device, trunk: str, sam: str, side: int) -> Case:
    method = _method(device, trunk, sam)  # in evaluation mode, so that dropout draws nothing
    batch = training_batch(0, 1, side).to(device)

    def kept() -> Tensor:
        method.zero_grad()
        method.loss(batch)["loss"].backward()
        return torch.cat([parameter.grad.flatten() for parameter in method.parameters() if parameter.grad is not None])

    def anew() -> Tensor:
        method.backbone.cache.clear()
        return kept()

    def difference() -> float:
        plain = anew()
        return float((plain - kept()).abs().max() / plain.abs().max())

    return Case(
        f"a training step of {len(batch)} episodes, {trunk} and {sam} at {side} pixels, images seen before",
        {"plain": anew, "fsbench": kept},
        difference,
        tolerance=1e-5,
    )


def _episode(device: torch.device, trunk: str, sam: str, side: int, shots: int) -> Case:
    method = _method(device, trunk, sam)
    episode = segmentation_episode(0, 0, 1, shots, side).without_truth().to(device)

    def plain() -> Tensor:
        """Each support by itself, with networks that forget the images before."""
        prompts = []
        for shot in range(shots):
            method.backbone.cache.clear()
            prompts.append(method.encode_way(_shot(episode, shot), 0).steps.prompts)
        encoding = method.sam_encodings(episode, [int(episode.query[0])])
        return method.logits(encoding, torch.cat(prompts, 1), side)

    def own() -> Tensor:
        method.backbone.cache.clear()
        found = method(episode).logits
        assert found is not None
        return found[:, 1]

    def difference() -> float:
        return float((_resized(plain(), own()) - own()).abs().max() / own().abs().max())

    return Case(
        f"an episode of {shots} shots, {trunk} and {sam} at {side} pixels, nothing seen before",
        {"plain": torch.no_grad()(plain), "fsbench": torch.no_grad()(own)},
        torch.no_grad()(difference),
        tolerance=1e-4,
    )


def _shot(episode: EpisodeBatch, shot: int) -> EpisodeBatch:
    part = slice(shot, shot + 1)
    return replace(
        episode,
        support=episode.support[:, :, part],
        support_labels=episode.support_labels[:, :, part],
        valid=episode.valid[:, :, part],
    )


def _resized(logits: Tensor, like: Tensor) -> Tensor:
    size = (like.shape[-2], like.shape[-1])
    return torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=True)[:, 0]
