"""Methods that look for the truth of what they predict, each by another path, and sound ones that look alike."""

from dataclasses import asdict, fields

import torch

from fsbench.core.prediction import Prediction
from fsbench.data.batch import Truth
from tests.fsbench.runner.contract.broken import Sound


def shown(truth, found):
    """Return a prediction that is the truth, at least where there is one."""
    label_map = truth.label_maps[0].long().clamp(max=found.logits.shape[0])
    return Prediction(label_map, logits=found.logits)


class Asks(Sound):
    def forward(self, episode):
        return shown(episode.truth, super().forward(episode))


class AsksInPredictShots(Sound):
    def predict_shots(self, episode):
        return shown(episode.truth, super().predict_shots(episode))


class AsksForPresence(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        return found if bool(episode.truth.presence.any()) else Prediction(0 * found.label_map, logits=found.logits)


class AsksForBaseMaps(Sound):
    def forward(self, episode):
        assert episode.truth.base_maps is not None
        return super().forward(episode)


class AsksKnownTruth(Sound):
    def forward(self, episode):
        return shown(episode.known_truth(), super().forward(episode))


class AsksByVars(Sound):
    def forward(self, episode):
        return shown(vars(episode)["truth"], super().forward(episode))


class AsksByFields(Sound):
    def forward(self, episode):
        values = {field.name: getattr(episode, field.name) for field in fields(episode)}
        return shown(values["truth"], super().forward(episode))


class AsksByAsdict(Sound):
    """Finds the name of the class as Python does, and takes its fields apart."""

    def forward(self, episode):
        found = super().forward(episode)
        return Prediction(asdict(episode)["truth"]["label_maps"][0].long().clamp(max=2), logits=found.logits)


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


class AsksDataSetForPixels(AsksDataSet):
    def forward(self, episode):
        self.dataset.class_pixels(episode.image_names[int(episode.query[0])])
        return Sound.forward(self, episode)


class Requires(Sound):
    def forward(self, episode):
        assert isinstance(episode.truth, Truth)
        return shown(episode.truth, super().forward(episode))


class RequiresAny(Sound):
    def on_device(self, batch):
        assert batch.truth
        return super().on_device(batch)


class Counts(Sound):
    """Takes the truth for an object with fields, which the one that hides it is not."""

    def forward(self, episode):
        assert fields(episode.truth)
        return super().forward(episode)


class AsksInOtherWords(Sound):
    """Hides from whoever reads the traceback why it fails."""

    def forward(self, episode):
        try:
            return shown(episode.truth, super().forward(episode))
        except Exception:
            raise AttributeError("no label maps") from None


class AnswersNothing(Sound):
    """Gives no answer where there is no truth."""

    def forward(self, episode):
        try:
            return shown(episode.truth, super().forward(episode))
        except Exception:
            return None


class Takes(Sound):
    """Takes the truth where there is one, and says nothing where there is none."""

    def forward(self, episode):
        found = super().forward(episode)
        try:
            return shown(episode.truth, found)
        except Exception:
            return found


class TakesByType(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        return shown(episode.truth, found) if isinstance(episode.truth, Truth) else found


class TakesByVars(Sound):
    def forward(self, episode):
        found = super().forward(episode)
        label_maps = vars(vars(episode)["truth"]).get("label_maps")
        return found if label_maps is None else Prediction(label_maps[0].long(), logits=found.logits)


class TakesClass(Sound):
    """Reads no pixel of the truth, only a class's number."""

    def forward(self, episode):
        found = super().forward(episode)
        if isinstance(episode.truth, Truth):
            found.label_map[:] = int(episode.truth.classes[0, 0]) % 2
        return found


class TakesOnTheWay(Sound):
    seen = None

    def on_device(self, batch):
        self.seen = batch.truth if isinstance(batch.truth, Truth) else None
        return super().on_device(batch)

    def forward(self, episode):
        found = super().forward(episode)
        return found if self.seen is None else shown(self.seen, found)


class TakesInBatch(TakesOnTheWay):
    def on_device(self, batch):
        return Sound.on_device(self, batch)

    def answer_batch(self, batch):
        self.seen = batch.truth if isinstance(batch.truth, Truth) else None
        return super().answer_batch(batch)


class TakesFromDataSet(KnowsDataSet):
    def forward(self, episode):
        found = super().forward(episode)
        try:
            labels = self.dataset.label_map(episode.image_names[int(episode.query[0])])
        except Exception:
            return found
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
