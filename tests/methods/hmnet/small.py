"""Small HMNets, data and trainings for the tests of the method."""

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule
from fsbench.backbones.base import BackboneConfig
from methods.hmnet.hmnet import HMNet

SMALL = dict(width=8, feature_side=8, blocks=2, states=2)


def data(folder, size=33, **options):
    settings = dict(image_size=size, batch_size=2, workers=0, empty_masks=False, episodes=4, validation_episodes=2)
    return EpisodicDataModule(Folder(str(folder)), **settings | options)


def on_vit(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("demo"), **SMALL | {"bam": False} | options).eval()


def on_pspnet(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("pspnet_vgg16", "random"), **SMALL | options).eval()


def fit(method, module, steps=2, callbacks=(), **options):
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


def episode(module):
    return next(iter(module.test_dataloader())).without_truth()
