"""SANSA beside the plain formulas: a training step and a test episode, on networks of random weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, relative_difference
from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.sam2_video import finish_encoding, frozen_stages
from fsbench.contract.episodes import segmentation_episode, training_batch
from fsbench.data.batch import EpisodeBatch
from methods.sansa import SANSA
from methods.sansa.losses import video_losses
from methods.sansa.pseudo_video import PseudoVideo, full_size


def cases(
    device: torch.device, network: str = "sam2_demo", side: int = 128, shots: int = 5, batch: int = 4
) -> Iterator[Case]:
    """Compare SANSA with its formulas, each followed to the letter, after a check of the answers.

    In the plain way the whole image encoder is computed anew for each frame, video by video, and each frame is decoded
    and put into memory. Images of our step come again, as they do in a training.

    Args:
        device: where it is computed.
        network: SAM 2; `sam2_hiera_tiny` or `sam2_hiera_base_plus` for one of true size.
        side: of the images.
        shots: supports of the test's episode.
        batch: episodes of the step.
    """
    torch.manual_seed(0)
    method = SANSA(BackboneConfig(network, "random:0"), dropout=0.0).to(device)
    noise = {name: value + 0.1 * torch.randn_like(value) for name, value in method.state_dict().items()}
    method.load_state_dict(noise)
    yield _step(method, training_batch(0, 1, side, batch).to(device), network)
    yield _episode(method, segmentation_episode(0, 0, 1, shots, side).to(device), network)


def _frames(method: SANSA, batch: EpisodeBatch, b: int) -> Tensor:
    """Return the frames (T, 3, D, D) of an episode's video: its supports, then its query."""
    rows = [*batch.support[b, 0].tolist(), int(batch.query[b])]
    return torch.stack([batch.pixels(row) for row in rows])


def _plain_video(method: SANSA, batch: EpisodeBatch, b: int) -> Tensor:
    """Return the logits (T, D, D) of an episode's frames, nothing kept and nothing left out."""
    frames = _frames(method, batch, b)
    size = frames.shape[-2], frames.shape[-1]
    video = PseudoVideo(method.network, size)
    for t, frame in enumerate(frames):
        encoded = finish_encoding(method.network, frozen_stages(method.network, frame[None], 0), method.adapters)
        if t < batch.support.shape[2]:
            video.prompt(encoded, [batch.support_masks[b, 0, t].float()])
        else:
            video.segment(encoded)
    return torch.cat([full_size(frame.low_res, size) for frame in video.frames if frame.low_res is not None])


def _step(method: SANSA, batch: EpisodeBatch, network: str) -> Case:
    truth = torch.stack([label_map == 1 for label_map in batch.known_truth().label_maps])

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(method.parameters()))])

    def plain() -> Tensor:
        logits = torch.stack([_plain_video(method, batch, b)[-1] for b in range(len(batch))])
        focal, dice = video_losses(logits[:, None], truth[:, None])
        return gradient(focal + dice)

    def ours() -> Tensor:
        method.train()
        return gradient(method.loss(batch)["loss"])

    return Case(
        f"training step, {network}, {len(batch)} episodes of {batch.images.shape[-1]} pixels",
        {"plain": plain, "fsbench": ours},
        lambda: relative_difference(plain(), ours()),
        tolerance=1e-3,
        units=len(batch),
    )


def _episode(method: SANSA, episode: EpisodeBatch, network: str) -> Case:
    hidden = episode.without_truth()

    def plain() -> Tensor:
        with torch.no_grad():
            return _plain_video(method, episode, 0)[-1]

    def ours() -> Tensor:
        """Segment the query by supports that were seen before, as where one's own images share them."""
        method.eval()
        method.backbone.cache.forget(episode.image_names[int(episode.query[0])])
        with torch.no_grad():
            low_res = method._video(hidden, 0).frames[-1].low_res
            assert low_res is not None
            return full_size(low_res, (episode.images.shape[-2], episode.images.shape[-1]))[0]

    def anew() -> Tensor:
        method.eval()
        method._forget()
        return ours()

    return Case(
        f"episode of {episode.support.shape[2]} shots, {network}, {episode.images.shape[-1]} pixels",
        {"plain": plain, "fsbench, new supports": anew, "fsbench, supports seen before": ours},
        lambda: max(relative_difference(plain(), anew()), relative_difference(plain(), ours())),
        tolerance=1e-3,
    )
