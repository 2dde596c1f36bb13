"""A learned method with ordinary habits of Lightning's users, and one that saves an object."""

import argparse
import enum
import os
import signal
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import nn

from fsbench.core.segmenter import Segmenter
from fsbench.networks.backbones.base import BackboneConfig


class Mode(enum.Enum):
    FAST = "fast"


@dataclass
class Settings:
    mode: Mode = Mode.FAST


def halved(value):
    return value / 2


class Schedule(torch.optim.lr_scheduler.LRScheduler):
    """Its state has NumPy's numbers and arrays, a deque, and code; the rate follows from their exact types."""

    def __init__(self, optimizer):
        self.factor = np.float32(0.9)
        self.table = np.linspace(1, 0.5, 50)
        self.recent = deque([np.float64(1)], maxlen=3)
        self.change, self.other = halved, partial(halved, 2)
        super().__init__(optimizer)

    def get_lr(self):
        self.recent.append(np.float32(self.last_epoch) / 10)
        return [
            base * self.factor * self.table[self.last_epoch] * self.change(sum(self.recent)) for base in self.base_lrs
        ]


class Watch(Callback):
    def __init__(self):
        self.state = {
            "sum": np.float32(0), "folder": Path("x"), "seen": {"b", "a"}, "counts": defaultdict(int),
            "options": argparse.Namespace(rate=np.float64(1)), "names": Counter("aab"),
        }  # fmt: skip

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.state["sum"] += np.float32(0.1) * self.state["options"].rate
        self.state["counts"][batch_idx] += len(self.state["folder"].name) * len(self.state["seen"] | {"c"})
        module.log("watched", float(self.state["sum"]) + self.state["counts"][batch_idx])

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


class Habits(Segmenter):
    shots = "average"

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-2):
        super().__init__(backbone)
        settings, options, mode, kind, change = Settings(), argparse.Namespace(a=1), Mode.FAST, Mode, partial(halved, 1)
        self.save_hyperparameters()
        self.save_hyperparameters(vars(options) | {"s": settings, "m": mode, "k": kind, "c": change, "p": Path("x")})
        self.options, self.learning_rate = options, learning_rate
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.zeros(2, 1, 1))

    def query(self, image):
        return F.normalize(image[:, -1, 1:], dim=-1)

    def support(self, image, mask):
        tokens = self.query(image)
        return tokens, F.adaptive_avg_pool2d(mask.float(), round(tokens.shape[1] ** 0.5)).flatten(1) > 0.5

    def segment(self, query, support):
        tokens, inside = support
        similar = query @ tokens.mT
        rest, own = (similar.masked_fill(other[:, None], -1).amax(-1) for other in (inside, ~inside))
        side = round(query.shape[1] ** 0.5)
        return self.scale * torch.stack([rest, own], 1).unflatten(2, (side, side)) + self.bias

    def configure_callbacks(self):
        return [Watch()]

    def configure_optimizers(self):
        group = {"params": list(self.parameters()), "lr": np.float64(self.learning_rate), "tag": ("all", np.float32(2))}
        optimizer = torch.optim.SGD([group], momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": Schedule(optimizer), "interval": "step"}}

    def get_extra_state(self):
        return {"version": np.int64(3), "none": b""}

    def set_extra_state(self, state):
        assert type(state["version"]) is np.int64 and state["none"] == b""

    def on_save_checkpoint(self, checkpoint):
        super().on_save_checkpoint(checkpoint)
        checkpoint["mine"] = {"options": self.options, "order": OrderedDict(a=np.arange(3))}

    def on_load_checkpoint(self, checkpoint):
        super().on_load_checkpoint(checkpoint)
        assert checkpoint["mine"]["options"].a == 1 and checkpoint["mine"]["order"]["a"].tolist() == [0, 1, 2]

    def on_train_batch_start(self, batch, batch_idx):
        if (str(self.current_epoch), str(batch_idx)) == tuple(os.environ.get("KILLED_AT", "").split()):
            os.kill(os.getpid(), signal.SIGKILL)


class SavesAnObject(Habits):
    def on_save_checkpoint(self, checkpoint):
        super().on_save_checkpoint(checkpoint)
        checkpoint["mine"]["settings"] = Settings()
