"""The base class of every method that segments: encode an episode, predict it, and (if it learns) give a loss.

Evaluation hands a method one episode at a time, without the truth, so that no figure can depend on the batch; a method
that computes several together must give the same bits. What is counted, and against what, is the protocol's: the truth
of an evaluation is not given to it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

from torch import Tensor

from fsbench.core.images_together import ImagesTogether
from fsbench.core.method import Method
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Exportable, QueryPart
from fsbench.core.shot_ensemble import ENSEMBLES, ensemble
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.scores.answers import SegmentationAnswer


class Segmenter(Method):
    """Base of the methods of few-shot segmentation.

    Subclasses implement `forward` (one episode) and, if they learn, `loss` and `configure_optimizers`.
    `backbone_type` is a vision transformer unless a subclass says otherwise;
    `fsbench.networks.backbones.timm_networks.FrozenPyramid` is another.
    """

    task = "segmentation"
    backbone_type: ClassVar[type[FrozenBackbone]] = FrozenViT
    finds_instances: ClassVar[bool] = False
    """True for methods whose predictions are made of single objects, see `Prediction.instances`."""
    keeps_instances: bool = False
    """Whether predictions hold these objects; one's own images ask for them."""
    exportable: Exportable = Exportable("its steps over a query are not separated from those over the supports")
    """Whether `query_part` gives a graph, and why not; a property where that follows from settings."""
    _together: ImagesTogether | None = None

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)
        self._encoded_together: set[str] = set()  # names of images of which the cache may have such features

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict a batch of exactly one episode, without padding and without its truth."""
        raise NotImplementedError

    def query_part(self, episode: EpisodeBatch) -> QueryPart:
        """Return what remains of `forward` once the supports are known, for `fsbench export`; the query is not read.

        Methods that are `exportable` define it. It decides as `forward` does, for queries of any size.
        """
        raise NotImplementedError

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return the training losses of a batch; the entry "loss" is minimised, all are logged."""
        raise NotImplementedError

    def encode(self, batch: EpisodeBatch, row: int) -> Any:
        """Return the frozen features of image `row`: of this image alone, or with others in training on a GPU."""
        if self._together is None or self._together.batch is not batch:
            return self.encode_image(batch.pixels(row))
        return self._together.encode(row)

    def encode_image(self, pixels: Tensor) -> Any:
        """Return the features of one normalised image (3, S, S): those of the frozen network, unless overridden."""
        return self.backbone.encode(pixels)

    @property
    def encodes_together(self) -> bool:
        """True if images of a training batch go through the backbone together: on a GPU, which one cannot fill."""
        return self.training and self.device.type == "cuda"

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        losses = self.losses_of_step(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch))
        return losses["loss"] * self.loss_weight(batch_idx)

    def losses_of_step(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return the losses of a training step: those of `loss`, with its images encoded and kept as in training."""
        together = self._together = ImagesTogether(self.backbone, batch) if self.encodes_together else None
        try:
            with nullcontext() if batch.recurs else self.backbone.cache.closed():
                return self.loss(batch)
        finally:
            self._together = None
            if together is not None and batch.recurs:
                self._encoded_together |= together.names

    def answer_batch(self, batch: EpisodeBatch) -> list[SegmentationAnswer]:
        answers = self.answers([*batch.split()])
        for name, place in batch.next_shown.items():
            self.backbone.cache.expect(name, place)
        return answers

    def begin_test(self, data: Any) -> None:
        self.backbone.cache.forget_expectations()

    def end_test(self) -> None:
        self.backbone.cache.forget_expectations()

    def answers(self, episodes: Sequence[EpisodeBatch]) -> list[SegmentationAnswer]:
        """Answer the episodes of a batch one by one.

        A method that computes parts of several together overrides it, and gives the same bits as for each alone.
        """
        return [self.answer(episode) for episode in episodes]

    def answer(self, episode: EpisodeBatch) -> SegmentationAnswer:
        """Predict one episode, and return what is counted and kept of it.

        Raises:
            NumericsError: a logit, a probability or a presence score is NaN or infinite.
        """
        return self.to_answer(episode, self.predict_shots(episode.without_truth()))

    def to_answer(self, episode: EpisodeBatch, prediction: Prediction) -> SegmentationAnswer:
        """Return what is counted and kept of an episode's prediction; raises as `answer` does."""
        place = f"{self.registry_name}: episode {int(episode.episodes[0])}"
        return prediction.answer(place, self.keeps_soft_masks)

    def predict_shots(self, episode: EpisodeBatch) -> Prediction:
        """Predict one episode by the run's `nshot_strategy`: in the method's own way, or as an ensemble of shots.

        Raises:
            SettingsError: an ensemble is asked for, and the method gives no logits.
        """
        for name in self._encoded_together.intersection(episode.image_names):  # no figure may depend on a batch
            self.backbone.cache.forget(name)
            self._encoded_together.remove(name)
        if self.nshot_strategy not in ENSEMBLES or episode.support.shape[2] == 1:
            prediction: Prediction = self(episode)
            return prediction
        return ensemble(self, episode, self.nshot_strategy)
