"""Methods that each break one rule of the contract, some that read the truth by different paths, and sound ones."""

import gc
import os
import random
from dataclasses import fields
from multiprocessing import parent_process

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import add
from fsbench.data.dataset import VOID
from fsbench.data.truth import EpisodeTruth
from fsbench.networks.backbones.base import BackboneConfig


class Sound(Segmenter):
    """Foreground where the query's brightness, scaled and shifted, is that of the support's foreground."""

    sees_pixels = True
    step_is_a_mean = True

    def __init__(self):
        super().__init__(BackboneConfig("demo", "random"))
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def support(self, image, mask):
        return (image.mean(1) * mask).sum((1, 2)), mask.sum((1, 2))

    def join(self, supports):
        light, pixels = (sum(parts) for parts in zip(*supports, strict=True))
        return light / pixels.clamp(min=1)

    def segment(self, query, support):
        near = self.bias + 1 - self.scale * (query.mean(1) - support[:, None, None]).abs()
        return torch.stack([-near, near], 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class Confident(Sound):
    """Its ways differ in logits that all are probability 1."""

    def segment(self, query, support):
        return 100 * (1.5 + super().segment(query, support).clamp(-1.5) / 10)


class ComparesProbabilities(Confident):
    def as_one(self, shots):
        return add(shots)


class WrongSize(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        return Prediction(found.label_map[1:])


class SilentAttention(Sound):
    """It does not say what its maps mean."""

    def forward(self, episode):
        found = super().forward(episode)
        found.attention = found.logits.sigmoid()[:, 1]
        return found


class EagerAttention(SilentAttention):
    """It has the map also where nobody keeps it."""

    attention_meaning = "brightness"


class LoudAttention(SilentAttention):
    attention_meaning = "brightness"

    def forward(self, episode):
        found = super().forward(episode)
        found.attention = 2 * found.attention
        return found


class OneWay(Sound):
    def forward(self, episode):
        assert episode.support.shape[1] < 5
        return super().forward(episode)


class NeedsForeground(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        found.logits = found.logits / episode.support_masks.any()
        return found


class NeedsObject(Sound):
    """Divides by zero where the query is as plain as one without an object."""

    def forward(self, episode):
        found = super().forward(episode)
        shown = episode.images[int(episode.query[0])].float().std() > 28.8
        return Prediction(found.label_map, logits=found.logits / shown)


class DigsForTruth(Sound):
    """Looks for the truth among all objects of the process."""

    def forward(self, episode):
        found = super().forward(episode)
        number = int(episode.episodes[0])
        for one in gc.get_objects():
            if type(one) is EpisodeTruth and one.episode == number and one.size == tuple(found.label_map.shape):
                return Prediction(torch.from_numpy(one.label_map).long().clamp(max=1), logits=found.logits)
        return found


class Overwrites(Sound):
    """Blackens the supports in place."""

    def forward(self, episode):
        found = super().forward(episode)
        episode.images[episode.support.flatten()] = 0
        return found


class OverwritesMasks(Sound):
    def forward(self, episode):
        episode.support_labels.fill_(1)
        return super().forward(episode)


class WritesToMask(Sound):
    def support(self, image, mask):
        return super().support(image, mask.logical_or_(mask.flip(-1)))


class WritesToState(Sound):
    def segment(self, query, support):
        return super().segment(query, support.mul_(0.5))


class WritesInJoin(Sound):
    shots = "joined"

    def join(self, supports):
        (light, pixels), *_ = supports
        light.add_(1)
        return light / pixels.clamp(min=1)


class WritesByData(Sound):
    """Writes where torch does not count it, a single number."""

    def query(self, image):
        image.data[0, 0, 0, 0] += 1
        return image


class WritesByNumpy(Sound):
    def support(self, image, mask):
        image.numpy()[0, 0, 0, 0] += 1
        return super().support(image, mask)


class Reseeds(Sound):
    def segment(self, query, support):
        torch.manual_seed(0)
        return super().segment(query, support)


class ReseedsNumpy(Sound):
    def segment(self, query, support):
        np.random.seed(0)
        return super().segment(query, support)


class ReseedsPython(Sound):
    def segment(self, query, support):
        random.seed(0)
        return super().segment(query, support)


class SetsThreads(Sound):
    def segment(self, query, support):
        torch.set_num_threads(3)
        return super().segment(query, support)


class StaysInTraining(Sound):
    def segment(self, query, support):
        found = super().segment(query, support)
        self.train()
        return found


class TrainsItsNetwork(Sound):
    def segment(self, query, support):
        self.backbone.network(query[0]).train()
        return super().segment(query, support)


class Remembers(Sound):
    """Shows a part of the answer before."""

    last = None

    def forward(self, episode):
        found = super().forward(episode)
        if self.last is not None:
            found.label_map[: len(self.last)] = self.last[:, : found.label_map.shape[1]]
        self.last = torch.full((4, 64), int(found.label_map.sum()) % 2)
        return found


class LooksUp(Sound):
    """Knows a query again that was a support of another episode, and its mask with it."""

    def __init__(self):
        super().__init__()
        self.shown = {}

    def forward(self, episode):
        found = super().forward(episode)
        for rows, masks in zip(episode.support[0], episode.support_masks[0], strict=True):
            self.shown |= {self.bytes(episode, row): mask for row, mask in zip(rows, masks, strict=True)}
        known = self.shown.get(self.bytes(episode, episode.query[0]))
        if known is None:
            return found
        size = tuple(found.label_map.shape)
        return Prediction(nn.functional.interpolate(known[None, None].float(), size)[0, 0].long(), logits=found.logits)

    def bytes(self, episode, row):
        return episode.pixels(int(row)).numpy().tobytes()


class ReadsBatch(Sound):
    others = 1

    def answer_batch(self, batch):
        self.others = len(batch)
        return super().answer_batch(batch)

    def forward(self, episode):
        found = super().forward(episode)
        return Prediction(torch.full_like(found.label_map, int(self.others > 1)), logits=found.logits)


class FirstWay(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        return Prediction((found.label_map > 0).long(), logits=found.logits)


class Draws(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        return Prediction(torch.randint_like(found.label_map, 2), logits=found.logits)


class Overflows(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        half = torch.is_autocast_enabled("cpu")
        return Prediction(found.label_map, logits=found.logits / (0 if half else 1))


class KnowsItsProcess(Sound):
    """Answers by the process in which it runs."""

    def forward(self, episode):
        found = super().forward(episode)
        found.label_map[0, 0] = int(parent_process() is not None)
        found.label_map[0, 1] = 1 - found.label_map[0, 0]
        return found


class EndsElsewhere(Sound):
    def __init__(self):
        super().__init__()
        if parent_process() is not None:
            os._exit(1)


class Unsaved(Sound):
    def __init__(self):
        super().__init__()
        self.shift = int(torch.randint(1000, ()))

    def forward(self, episode):
        found = super().forward(episode)
        found.label_map[0, : self.shift % 64] = 0
        found.label_map[1, : self.shift // 64] = 0
        return found


class DeadParameter(Sound):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(2, 2)


class LearnsNothing(Sound):
    def batch_loss(self, batch):
        return {"loss": 1 + 0 * super().batch_loss(batch)["loss"]}


class AveragesPixels(Sound):
    """Its loss is the mean over the pixels of a batch that are not void."""

    def loss(self, output, target):
        labels = (target.labels == 1).long().masked_fill(target.labels == VOID, VOID)
        return {"loss": F.cross_entropy(self.resize(output.logits, labels.shape[1:]), labels, ignore_index=VOID)}


class DropsPixels(Sound):
    def query(self, image):
        return F.dropout(image, 0.1, self.training)


class NormalisesBatches(Sound):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def query(self, image):
        return self.norm(image)


class SumsInStep(Sound):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * len(batch)


class DrawsOnce(Sound):
    def losses(self, query, supports, target):
        return {"loss": super().losses(query, supports, target)["loss"] * (1 + torch.rand(()))}


class MeansOverShown(Sound):
    def losses(self, query, supports, target):
        loss = super().losses(query, supports, target)["loss"]
        return {"loss": loss * len(target.present) / target.present.sum().clamp(min=1)}


class Leaks(Sound):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, episode):
        self.seen.append(episode.images)
        return super().forward(episode)


class TwoWays(Sound):
    """Sound, and refuses more than `most` ways."""

    most = 2

    def forward(self, episode):
        ways = episode.support.shape[1]
        if ways > self.most:
            raise SettingsError(f"found {ways} ways; expected at most {self.most}")
        return super().forward(episode)


class SingleWay(TwoWays):
    most = 1


class NegativeLoss(Sound):
    def batch_loss(self, batch):
        return {"loss": super().batch_loss(batch)["loss"] * 0 - 1}


class ExportedOtherwise(Sound):
    """What is exported of it has another threshold."""

    def segment(self, query, support):
        rest, own = super().segment(query, support).unbind(1)
        return torch.stack([rest, own - 0.9 * torch.compiler.is_exporting()], 1)


def shown(truth, found):
    """Return a prediction that is the truth."""
    label_map = truth.label_maps[0].long().clamp(max=found.logits.shape[0])
    return Prediction(label_map, logits=found.logits)


class Asks(Sound):
    def forward(self, episode):
        return shown(episode.truth, super().forward(episode))


class AsksByVars(Sound):
    def forward(self, episode):
        return shown(vars(episode)["truth"], super().forward(episode))


class AsksOnTheWay(Sound):
    def on_device(self, batch):
        self.seen = batch.truth.label_maps
        return super().on_device(batch)


class AsksInBatch(Sound):
    def answer_batch(self, batch):
        self.seen = batch.truths()
        return super().answer_batch(batch)


class KnowsDataSet(Sound):
    def begin_test(self, data):
        super().begin_test(data)
        self.dataset = data.dataset


class AsksDataSet(KnowsDataSet):
    """Reads the query's label map from the data set that it is told of."""

    def forward(self, episode):
        found = super().forward(episode)
        name = episode.image_names[int(episode.query[0])]
        labels = self.dataset.label_map(name)
        return Prediction(torch.from_numpy(labels).clamp(max=1).long(), logits=found.logits)


class ReadsNamesOfClasses(Sound):
    """Sound: which classes there are is no truth."""

    def begin_test(self, data):
        super().begin_test(data)
        assert len(data.dataset.class_names) == 20


class HandlesHints(Sound):
    """Sound: it looks at every field, and reads none of the truth."""

    def forward(self, episode):
        assert "truth" in vars(episode) and episode.truth is not None and len(fields(episode)) > 10
        return super().forward(episode)
