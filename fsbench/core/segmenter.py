"""A method that segments is a function of one way: what a labelled image shows, and where a query shows it.

A subclass says `support(image, mask)` and `segment(query, support)`, and names the rule by which K shots become one. It
never sees how many ways or shots there are, nor which row of which tensor an image lies in, nor the size at which an
answer is counted: all of this is here.

Evaluation hands a method one episode at a time, without the truth, so that no figure can depend on the batch. What is
counted, and against what, is the protocol's.

Shapes: B images, N ways, K shots, S image side, (h, w) the size of a label map.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.handed_out import WHOLE, Seal, unchanged
from fsbench.base.tensor_cache import digest
from fsbench.core.image_features import Features, ImageFeatures
from fsbench.core.images_together import ImagesTogether
from fsbench.core.outputs import Competition, Context, Output, Target
from fsbench.core.prediction import Prediction
from fsbench.core.shot_ensemble import ENSEMBLES, ensemble
from fsbench.core.shots import RULES, Shot, Way, one_against_rest
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.first_largest import first_largest
from fsbench.scores.answers import SegmentationAnswer

State = Any
"""Whatever a method knows of labelled images of one way: a tensor, or tuples, lists, dicts or dataclasses of them."""


class Segmenter(ImageFeatures):
    """Base class of few-shot segmentation methods; subclasses define `support` and `segment`.

    A method that learns defines `loss` and `configure_optimizers` as well. One that cannot treat each class (way) by
    itself defines `answer` instead; one that computes parts of several episodes together defines `answers`.

    Attributes:
        context: facts about the episode or training batch being answered.
    """

    task = "segmentation"
    context: Context
    shots: str = "joined"
    """How K shots become one answer: a rule of `fsbench.core.shots`."""
    competes: bool = False
    """True for methods in which background and ways compete: `join` then gets the supports of all ways, and `segment`
    returns a `Competition`."""
    reads_void: bool = False
    """True for methods that tell void pixels of a support from its background: masks are then labels (B, S, S) uint8, 1
    the way, 0 all else, 255 void."""
    keeps_states: bool = False
    """True for methods whose `support` takes long: in evaluation, a support's state is kept as features are.

    The state must depend on the image, the mask, K (`Context.shots`) and the weights alone. Whoever changes weights in
    place afterwards calls `forget_states`; loading weights and changing the mode do so."""
    decides_by_order: bool = False
    """True for methods whose steps decide by order or sign: they compute in float32, whatever the run's precision."""
    finds_instances: ClassVar[bool] = False
    """True for methods whose predictions are made of single objects, see `Prediction.instances`."""
    keeps_instances: bool = False
    """Whether predictions hold these objects; one's own images ask for them."""
    _sealed: tuple[Seal, ...] = ()
    """Seals of the states of this episode, where all contents are compared; the cache has its own of what it keeps."""

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)
        self._encoded_together: set[str] = set()  # keys of images of which the cache may have such features
        self.register_load_state_dict_post_hook(_forget_states)

    # What a method says ---------------------------------------------------------------------------------------------

    def query(self, image: Features) -> Features:
        """Return the queries' features in the form that all ways and shots share; called once for each query.

        Args:
            image: the frozen network's features of B queries, which are returned unchanged unless a method overrides
                this.
        """
        return image

    def support(self, image: Features, mask: Tensor) -> State:
        """Return the method's state of B labelled images of one way (class), such as prototypes, as `segment` takes it.

        Args:
            image: features of the images.
            mask: (B, S, S) bool, pixels of the object; void pixels are background.
        """
        raise NotImplementedError

    def join(self, supports: Iterator[State]) -> State:
        """Join the states of a way's K supports into one state for `segment`; used only with `shots = "joined"`.

        Args:
            supports: states that `support` returned for the way; for a method in which ways compete, one iterator of
                states for each way.
        """
        (support,) = supports
        return support

    def all_ways(self, supports: Iterator[Iterator[State]]) -> Iterator[Iterator[State]]:
        """Return the support states of each way; override this if a way's states depend on the other ways."""
        return supports

    def segment(self, query: Features, support: State) -> Any:  # Tensor | Output | Competition
        """Return logits (B, 2, ·, ·) of where B queries show one way, background first, or an `Output` that holds them.

        A method in which background and ways compete returns a `Competition` of all ways.

        Args:
            query: the result of `query` for B queries.
            support: the state of one support, or of all supports after `join`.
        """
        raise NotImplementedError

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize logits (B, 2, ·, ·) to the label map's size (h, w): bilinear, corners aligned, float32."""
        return F.interpolate(_at_least_single(logits), size, mode="bilinear", align_corners=True)

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        """Return {name: loss} of an output; "loss" is minimised, all entries are logged.

        By default the only entry is the mean cross-entropy of all pixels, with void counted as background.
        """
        height, width = target.labels.shape[1:]
        return {"loss": F.cross_entropy(self.resize(output.logits, (height, width)), (target.labels == 1).long())}

    # The loop over ways and shots -----------------------------------------------------------------------------------

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict one episode, given as a batch of size 1 without padding and without ground truth."""
        with self._precision(episode):
            return self.answer(episode)

    def answer(self, episode: EpisodeBatch) -> Prediction:
        """Predict one episode, way by way; unless ways compete, no way's result depends on the other ways."""
        height, width = episode.query_sizes[0].tolist()
        query, supports = self.ask(episode)
        if self.competes:
            return self.compete(self.output(query, self.join(supports)), (height, width))
        return self.decide((self.outputs(query, of_way) for of_way in supports), (height, width))

    def ask(self, episode: EpisodeBatch) -> tuple[Features, Iterator[Iterator[State]]]:
        """Return an episode's query as `query` returns it, and for each way an iterator over its supports' states.

        States are computed when the iterators reach them.
        """
        shown = None if episode.support_ways is None else episode.support_ways[0]
        self._sealed = ()
        has_support = episode.valid[0].any(1).tolist()
        self.context = Context(
            episode.images.shape[-1],
            tuple(episode.episodes.tolist()),
            images=episode.support[0],
            shown=shown,
            hints=episode.hints or (),
            counted=episode.counted_pixels,
            base_classes=has_support.count(False),
        )
        numbers = [number for number, has in enumerate(has_support) if has]
        return self._query(self.features(episode, episode.query)), self.all_ways(self._ways(episode, numbers))

    def _ways(self, episode: EpisodeBatch, numbers: Sequence[int]) -> Iterator[Iterator[State]]:
        """Yield an iterator over the supports' states for each of the ways `numbers`; `context` tells their number."""
        for way in map(episode.way, numbers):
            self.context = replace(self.context, own_shots=way.support.shape[2])
            yield self.supports(way)

    def way_outputs(self, episode: EpisodeBatch) -> list[Any]:
        """Return the output of `segment` for each way of an episode.

        If the method segments by one shot at a time, it is the output by the first shot.
        """
        with torch.no_grad(), self._precision(episode):
            query, supports = self.ask(episode)
            return [next(self.outputs(query, of_way)) for of_way in supports]

    def supports(self, way: EpisodeBatch) -> Iterator[State]:
        """Yield the state of each support of an episode that has a single way.

        A method that needs more about supports than images and masks (`EpisodeBatch.hints`) overrides this.
        """
        masks = way.support_labels if self.reads_void else way.support_masks
        for rows, mask in zip(way.support[0, 0].split(1), masks[0, 0].split(1), strict=True):
            state = self._kept_state(way, rows, mask) if self.keeps_states else self._state(way, rows, mask)
            self._sealed += (Seal(state),) if WHOLE.get() else ()
            yield state

    def _state(self, way: EpisodeBatch, rows: Tensor, mask: Tensor) -> State:
        return self._support(self.support_features(way, rows, mask), mask)

    def _query(self, image: Features) -> Features:
        with unchanged(f"query() of {type(self).__name__}", image=image):
            return self.query(image)

    def _support(self, image: Features, mask: Tensor) -> State:
        with unchanged(f"support() of {type(self).__name__}", image=image, mask=mask):
            return self.support(image, mask)

    def _kept_state(self, way: EpisodeBatch, rows: Tensor, mask: Tensor) -> State:
        """Return the state of a support, which is kept in the backbone's cache."""
        key = (*self.feature_key(way, int(rows)), digest(mask), self.context.shots)
        with torch.inference_mode(False), torch.no_grad():  # what is kept may be exported
            return self.backbone.cache.get("states", key, partial(self._state, way, rows, mask), is_derived=True)

    def forget_states(self) -> None:
        """Drop what is kept and depends on the method's weights: by default the supports' states."""
        self.backbone.cache.forget_kind("states")

    def train(self, mode: bool = True) -> Self:
        self.forget_states()  # in both directions: Lightning gives the training mode back without calling this
        return super().train(mode)

    def outputs(self, query: Features, supports: Iterator[State]) -> Iterator[Output]:
        """Yield the output of `segment` for each support of a way, or a single output for all supports joined."""
        for state in [self.join(supports)] if self.shots == "joined" else supports:
            yield self.output(query, state)
            del state  # the next one comes while nothing of this is held

    def output(self, query: Features, state: State) -> Any:
        """Return the result of `segment` as an `Output`, also where `segment` returns only logits.

        Raises:
            ContractError: the method wrote to its arguments.
        """
        for seal in self._sealed:
            seal.check(f"join() of {type(self).__name__}", "its argument supports")
        watched = state if self.keeps_states or WHOLE.get() else ()
        with unchanged(f"segment() of {type(self).__name__}", query=query, support=watched):
            output = self.segment(query, state)
        return Output(output) if isinstance(output, Tensor) else output

    def decide(self, ways: Iterator[Iterator[Output]], size: tuple[int, int]) -> Prediction:
        """Return an episode's prediction, of `size` (h, w), from the lazily computed outputs of each way."""
        attention: list[Tensor] = []
        return self.predict((self.read(outputs, size, attention) for outputs in ways), attention)

    def read(self, outputs: Iterator[Output], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Resize the outputs of a way's shots to `size` (h, w) and combine them into one decision.

        Args:
            outputs: output of `segment` for each shot.
            size: height and width of the label map.
            attention: a list to which the mean attention map of the shots is appended, if they have any.
        """
        maps: list[Tensor] = []

        def full() -> Iterator[Shot]:
            for output in outputs:
                if self.keeps_soft_masks and output.attention is not None:
                    maps.append(output.attention)
                presence = None if output.presence is None else _at_least_single(output.presence)[0]
                yield Shot(self.resize(output.logits, size)[0], presence)

        way = self.as_one(full())
        if attention is not None and maps:
            attention.append(torch.stack(maps).mean(0) if len(maps) > 1 else maps[0])
        return way

    def as_one(self, shots: Iterator[Shot]) -> Way:
        """Combine a way's shots into one decision, by the rule that `self.shots` names unless overridden."""
        return RULES[self.shots](shots)

    def predict(self, ways: Iterable[Way], attention: Sequence[Tensor]) -> Prediction:
        """Return the prediction of an episode: each pixel gets the way with the largest score of those that claim it.

        On equal scores the first way wins. Ways are read one at a time to save memory.

        Args:
            ways: the decision about each way.
            attention: the ways' attention maps, each (1, ·, ·); empty if there are none.
        """
        found, best, kept = torch.empty(0), torch.empty(0), []
        for number, way in enumerate(ways, 1):
            if number == 1:
                found, best = way.foreground.long(), way.score
            else:
                wins = way.foreground & ((found == 0) | (way.score > best))
                found, best = torch.where(wins, number, found), torch.where(wins, way.score, best)
            probability = way.probability if way.logits is None else None
            kept.append((way.present, way.presence_score, way.logits, probability))
            del way  # the next one comes while nothing else of this is held
        maps = torch.cat(list(attention)).float() if attention else None
        present, score, logits, probability = (_stacked(values) for values in zip(*kept, strict=True))
        return Prediction(found, present, score, logits, probability, maps)

    def compete(self, output: Competition, size: tuple[int, int]) -> Prediction:
        """Return the prediction where background and ways compete: each pixel gets the largest logit's label.

        Args:
            output: logits of background and all ways.
            size: height and width of the label map.
        """
        full = self.resize(output.logits, size)[0]
        return Prediction(
            first_largest(full), output.present, output.presence_score, one_against_rest(full),
            attention=output.attention if self.keeps_soft_masks else None,
        )  # fmt: skip

    # Training -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        losses = self.losses_of_step(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch))
        return losses["loss"] * self.loss_weight(batch_idx)

    def losses_of_step(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return {name: loss} of a training step; on a GPU, images of the batch are encoded together."""
        together = None
        if self.encodes_together:
            together = ImagesTogether(self.backbone, batch, partial(self.feature_key, batch))
        self._together = together
        try:
            with (
                nullcontext() if batch.recurs else self.backbone.cache.closed(),
                self.backbone.cache.unchanged(type(self).__name__),
            ):
                return self.batch_loss(batch)
        finally:
            self._together = None
            if together is not None and batch.recurs:
                self._encoded_together |= together.images

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return {name: loss} of a batch of 1-way episodes; one call of `segment` gets all queries."""
        with self._precision(batch):
            return self.losses(*self.lesson(batch))

    def lesson(self, batch: EpisodeBatch) -> tuple[Features, Iterator[tuple[Features, Tensor]], Target]:
        """Return a training batch's query features, an iterator over its shots, and the ground truth.

        Each shot is (support features, masks (B, S, S)); the features are computed when the iterator reaches them.
        """
        truth = batch.known_truth()
        target = Target(torch.stack(truth.label_maps), truth.presence[:, 0], truth.classes[:, 0], truth.base_maps)
        numbers = tuple(batch.episodes.tolist())
        self.context = Context(batch.images.shape[-1], numbers, target.classes, hints=batch.hints or ())
        shots = 1 if self.trains_one_shot else batch.support.shape[2]
        masks = batch.support_labels if self.reads_void else batch.support_masks
        parts = (batch.support[:, 0, :shots].unbind(1), masks[:, 0, :shots].unbind(1))
        supports = ((self.support_features(batch, *shot), shot[1]) for shot in zip(*parts, strict=True))
        return self.features(batch, batch.query), supports, target

    def losses(self, query: Features, supports: Iterator[tuple[Features, Tensor]], target: Target) -> dict[str, Tensor]:
        """Return {name: loss} of a training batch: by default the losses of its queries' outputs.

        A method that also learns from the supports' masks overrides this.

        Args:
            query: features of B queries.
            supports: for each shot the features and the masks (B, S, S) of the B supports.
            target: the ground truth of the queries.
        """
        asked, states = self._query(query), (self._support(*shot) for shot in supports)
        if self.competes:
            return self.loss(self.output(asked, self.join(iter([states]))), target)
        (output,) = self.outputs(asked, states)
        return self.loss(output, target)

    @property
    def sees_all_shots(self) -> bool:  # type: ignore[override]
        return self.shots == "joined"

    @property
    def trains_one_shot(self) -> bool:  # type: ignore[override]
        """True if the method reads shots one at a time (not joined); training then uses the first shot only."""
        return not self.sees_all_shots

    def _precision(self, batch: EpisodeBatch) -> AbstractContextManager[Any]:
        device = batch.images.device.type
        return torch.autocast(device, enabled=False) if self.decides_by_order else nullcontext()

    # Evaluation -----------------------------------------------------------------------------------------------------

    def begin_test(self, data: Any) -> None:
        self.forget_states()
        self.backbone.cache.forget_expectations()

    def end_test(self) -> None:
        self.forget_states()
        self.backbone.cache.forget_expectations()

    def answer_batch(self, batch: EpisodeBatch) -> list[SegmentationAnswer]:
        with torch.inference_mode(False), torch.no_grad():  # of whose tensors the writes are counted
            episodes = [*batch.split()]
        asks_all = batch.unsupported_are_base
        answers = self.answers(episodes) if asks_all else [self._supported_answer(episode) for episode in episodes]
        for image, place in batch.next_shown.items():
            self.backbone.cache.expect(image, place)
        return answers

    def _supported_answer(self, episode: EpisodeBatch) -> SegmentationAnswer:
        """Return the answer about the ways that have supports; nothing is predicted as another way."""
        asked, ways = episode.valid[0].any(1).nonzero().flatten().tolist(), episode.valid.shape[1]
        answer = SegmentationAnswer(np.zeros(episode.query_sizes[0].tolist(), np.uint8), np.zeros(0, bool))
        if asked:
            (answer,) = self.answers([episode.only(asked)])
        return answer.among(asked, ways)

    def answers(self, episodes: Sequence[EpisodeBatch]) -> list[SegmentationAnswer]:
        """Predict the episodes of a batch one by one, and return the answers that are scored and stored.

        A method that computes parts of several episodes together overrides this; each answer must then be the same, bit
        for bit, as if its episode were predicted alone.

        Raises:
            NumericsError: a logit, a probability or a presence score is NaN or infinite.
        """
        found = []
        for episode in episodes:
            prediction = self.predict_shots(episode.without_truth())
            place = f"{self.registry_name}: episode {int(episode.episodes[0])}"
            found.append(prediction.answer(place, self.keeps_soft_masks))
        return found

    def predict_shots(self, episode: EpisodeBatch) -> Prediction:
        """Predict one episode by the run's `nshot_strategy`: the method's own rule, or an ensemble of shots.

        Raises:
            SettingsError: the strategy is an ensemble, and the method gives no logits.
            ContractError: the method wrote to the episode's tensors or to cached features.
        """
        for image in self._encoded_together.intersection(episode.image_keys):  # no figure may depend on a batch
            self.backbone.cache.forget(image)
            self._encoded_together.remove(image)
        name = type(self).__name__
        with self.backbone.cache.unchanged(name), unchanged(name, episode=episode):
            if self.nshot_strategy not in ENSEMBLES or episode.support.shape[2] == 1:
                prediction: Prediction = self(episode)
                return prediction
            return ensemble(self, episode, self.nshot_strategy)


def _forget_states(method: Segmenter, _: Any) -> None:
    method.forget_states()


def as_list(state: State) -> State:
    """Return a support state that is an iterator as a list; any other state is returned unchanged."""
    return list(state) if isinstance(state, Iterator) else state


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    """Stack values, if all are there; one alone is not copied."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return None
    return there[0][None] if len(there) == 1 else torch.stack(there)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
