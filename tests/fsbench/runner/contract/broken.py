"""Methods that each break one rule of the contract, and one that keeps all."""

import gc

import torch
from torch import nn

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart, margin_of_ways
from fsbench.core.segmenter import Segmenter
from fsbench.data.truth import EpisodeTruth
from fsbench.networks.backbones.base import BackboneConfig


class Sound(Segmenter):
    """Foreground where the query's brightness, scaled and shifted, is that of the support's foreground."""

    def __init__(self):
        super().__init__(BackboneConfig("demo", "random"))
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    @property
    def predicts_presence(self):
        return False

    def maps(self, batch, b):
        """(N, 2, S, S)."""
        query = batch.pixels(int(batch.query[b])).mean(0)
        maps = []
        for way in range(batch.support.shape[1]):
            image = torch.stack([batch.pixels(int(row)).mean(0) for row in batch.support[b, way]])
            mask = batch.support_masks[b, way]
            inside = (image * mask).sum() / mask.sum().clamp(min=1)
            near = self.bias + 1 - self.scale * (query - inside).abs()
            maps.append(torch.stack([-near, near]))
        return torch.stack(maps)

    def forward(self, episode):
        size = tuple(episode.query_sizes[0].tolist())
        logits = nn.functional.interpolate(self.maps(episode, 0), size, mode="bilinear")
        value, way = logits[:, 1].max(0)
        return Prediction(torch.where(value > 0, way + 1, 0), logits=logits)

    def loss(self, batch):
        logits = torch.stack([self.maps(batch, b)[0] for b in range(len(batch))])
        target = torch.stack(batch.known_truth().label_maps)
        return {"loss": nn.functional.cross_entropy(logits, (target == 1).long())}


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


class ReadsTruth(Sound):
    """Looks at the batch on its way to the device, before it predicts."""

    seen = None

    def on_device(self, batch):
        self.seen = batch.truth.label_maps
        return super().on_device(batch)

    def forward(self, episode):
        found = super().forward(episode)
        return found if self.seen is None else Prediction(self.seen[0].long(), logits=found.logits)


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


class Unpicklable(Sound):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x


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
    def loss(self, batch):
        return {"loss": 1 + 0 * super().loss(batch)["loss"]}


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
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] * 0 - 1}


class Exported(Sound):
    """Sound, and exportable."""

    exportable = Exportable()

    def query_part(self, episode):
        return BrightnessPart(self, episode)


class ExportedOtherwise(Exported):
    """What is exported of it has another threshold."""

    def query_part(self, episode):
        return BrightnessPart(self, episode, threshold=0.9)


class BrightnessPart(QueryPart):
    """The steps of `Sound` over a query."""

    def __init__(self, method, episode, threshold=0.0):
        super().__init__(None)
        self.method, self.threshold = method, threshold
        ways = range(episode.support.shape[1])
        images = [[episode.pixels(int(row)).mean(0) for row in episode.support[0, way]] for way in ways]
        masks = [episode.support_masks[0, way] for way in ways]
        sums = [(torch.stack(image) * mask).sum() for image, mask in zip(images, masks, strict=True)]
        self.keep("inside", [total / mask.sum().clamp(min=1) for total, mask in zip(sums, masks, strict=True)])

    def forward(self, pixels, size):
        inside = torch.stack(self.kept("inside"))[:, None, None]
        near = self.method.bias + 1 - self.method.scale * (pixels.mean(0) - inside).abs()
        value = nn.functional.interpolate(near[:, None], size, mode="bilinear")[:, 0]
        best, way = value.max(0)
        return Decision(torch.where(best > self.threshold, way + 1, 0), margin_of_ways(value.sigmoid()))
