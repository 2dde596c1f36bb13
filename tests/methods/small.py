"""Small backbones, data and trainings for the tests of methods; the fixtures of `conftest` make the backbones known."""

from collections.abc import Sequence
from dataclasses import replace

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fsbench.datamodules.datasets.folder import Folder
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import PyramidNet
from fsbench.networks.weights.table import WeightFile
from tests.data_modules import episodic

TINY = dict(patch_size=8, embed_dim=24, depth=3, num_heads=2)
"""A vision transformer of three small blocks, `tiny`."""
PYRAMID = PyramidNet(
    "resnet",
    dict(layers=(1, 2, 1, 1), channels=(4, 8, 8, 16)),
    (1, 2, 1, 1),
    (16, 32, 32, 64),
    32,
    weights=WeightFile("none.pth"),
)
"""A small pyramid, `small`."""


def vit(weights="random:0"):
    return BackboneConfig("tiny", weights)


def pyramid(weights="random:0"):
    return BackboneConfig("small", weights)


def data(folder, size=33, **options):
    """Episodes of the blocks in a folder, two in a batch."""
    settings = dict(image_size=size, batch_size=2, workers=0, empty=False, episodes=4, validation_episodes=2)
    return episodic(Folder(str(folder)), **settings | options)


def episode(module):
    """The first episode of a data module's test."""
    return next(iter(module.test_dataloader())).without_truth()


def predict(method, episode):
    """The method's answer to a batch of episodes whose truth it does not see."""
    with torch.no_grad():
        return method.predict_shots(episode.without_truth())


def chosen(episode, ways: Sequence[int] | None = None, shots: Sequence[int] | None = None):
    """An episode with these of its ways and shots alone, in this order; None for all."""
    parts = {name: getattr(episode, name) for name in ("support", "support_labels", "valid")}
    hints = episode.hints
    if ways is not None:
        parts = {name: part[:, list(ways)] for name, part in parts.items()}
        hints = hints and [one.part(ways, slice(None)) for one in hints]
    if shots is not None:
        parts = {name: part[:, :, list(shots)] for name, part in parts.items()}
    return replace(episode, hints=hints, **parts)


def fit(method, module, steps=2, callbacks=(), **options):
    """Train a method for a few steps of one epoch; return its trainer."""
    trainer = L.Trainer(
        max_epochs=1, limit_train_batches=steps, limit_val_batches=1, logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks), callbacks=list(callbacks),
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", use_distributed_sampler=False,
        **options,
    )  # fmt: skip
    trainer.fit(method, module)
    return trainer


def without_dropout(method):
    """Which draws from the generator of each process."""
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    return method.train()
