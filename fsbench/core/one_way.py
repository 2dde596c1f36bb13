"""A method is a function of one way: what a labelled image shows, and where a query shows it.

A subclass says `support(image, mask)` and `segment(query, support)`, and names the rule by which K shots become one. It
never sees how many ways or shots there are, nor which row of which tensor an image lies in, nor the size at which an
answer is counted: all of this is here.

Shapes: B images, N ways, K shots, S image side, (h, w) the size of a label map.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart, margin_of_classes
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import RULES, Shot, Way, one_against_rest
from fsbench.data.batch import EpisodeBatch, Hints
from fsbench.networks.ops.first_largest import first_largest

Features = Any
"""The frozen network's features of B images: a tensor (B, …), or a tuple of such tensors."""
State = Any
"""Whatever a method knows of labelled images of one way: a tensor, or tuples of tensors."""


@dataclass
class Output:
    """Logits of one way with what some methods have beside them; a method with more losses extends it.

    Attributes:
        logits: (B, 2, ·, ·) at any size; the second is the foreground's.
        presence: (B, 2) logits of the way's presence in the query.
        attention: (B, ·, ·) in [0, 1], see `Prediction.attention`.
    """

    logits: Tensor
    presence: Tensor | None = None
    attention: Tensor | None = None


@dataclass
class Competition:
    """Logits of background and all ways together, of methods in which these compete for each pixel.

    Attributes:
        logits: (1, N + 1, ·, ·), background first.
        present: (N,) bool, and its score (N,) in [0, 1]; None of methods that only segment.
        attention: (N, ·, ·), see `Prediction.attention`.
    """

    logits: Tensor
    present: Tensor | None = None
    presence_score: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """The truth about training queries and the way that is looked for in each.

    Attributes:
        labels: (B, S, S) uint8: 1 the way, 0 all else, 255 void.
        present: (B,) bool.
        classes: (B,) int64 numbers of the ways' classes.
        base_maps: see `fsbench.data.batch.Truth`; empty unless the method needs them.
    """

    labels: Tensor
    present: Tensor
    classes: Tensor
    base_maps: Sequence[Tensor]


@dataclass(frozen=True)
class Context:
    """What a method may know of the episode, or the training batch, that it is asked about.

    Attributes:
        side: S.
        episodes: numbers of the B episodes, which together with a seed are all that a draw may depend on.
        classes: (B,) int64 numbers of the ways' classes in training; None elsewhere.
        images: (N, K) numbers of an episode's supports; equal ones are the same image.
        shown: (N, K, S, S) uint8, all that supports show of their episode, see `EpisodeBatch.support_ways`.
        hints: of the B episodes; none where the method asks for none.
        counted_pixels: (B, S, S) bool, see `EpisodeBatch.counted_pixels`.
    """

    side: int
    episodes: tuple[int, ...] = ()
    classes: Tensor | None = None
    images: Tensor | None = None
    shown: Tensor | None = None
    hints: Sequence[Hints] = ()
    counted_pixels: Tensor | None = None

    @cached_property
    def inner(self) -> tuple[int, int]:
        """Height and width of an episode's query at the top left of its square: S where no padding is told."""
        if self.counted_pixels is None:
            return self.side, self.side
        counted = self.counted_pixels[0]
        return int(counted.any(1).sum()), int(counted.any(0).sum())

    @property
    def episode(self) -> int | None:
        """Number of the episode that is answered; None in training, and where there is none."""
        return self.episodes[0] if self.classes is None and self.episodes else None


class OneWaySegmenter(Segmenter):
    """Base of methods that are functions of one way; subclasses define `support` and `segment`.

    Attributes:
        context: of what is asked at the moment.
    """

    context: Context
    shots: str = "joined"
    """How K shots become one answer: a rule of `fsbench.core.shots`."""
    competes: bool = False
    """True for methods in which background and ways compete: `join` then gets the supports of all ways, and `segment`
    returns a `Competition`."""
    reads_void: bool = False
    """True for methods that tell void pixels of a support from its background: masks are then labels (B, S, S) uint8, 1
    the way, 0 all else, 255 void."""
    raw_images: bool = False
    """True for methods whose network takes images (3, S, S) uint8, which it prepares by itself."""
    sees_pixels: bool = False
    """True for methods whose network sees query and supports together: features are then the pixels themselves."""
    decides_by_order: bool = False
    """True for methods whose steps decide by order or sign: they compute in float32, whatever the run's precision."""
    exportable = Exportable()

    # What a method says ---------------------------------------------------------------------------------------------

    def query(self, image: Features) -> Features:
        """Return what all ways and shots share of a query; computed once for each."""
        return image

    def support(self, image: Features, mask: Tensor) -> State:
        """Return what labelled images show of their way; mask (B, S, S) bool, void is background."""
        raise NotImplementedError

    def join(self, supports: Iterator[State]) -> State:
        """Return what K supports show together, which come one after the other; only with shots = "joined".

        Where ways compete it gets those of each way.
        """
        (support,) = supports
        return support

    def all_ways(self, supports: Iterator[Iterator[State]]) -> Iterator[Iterator[State]]:
        """Return the supports of each way of an episode; unless overridden, no way is told of the others."""
        return supports

    def segment(self, query: Features, support: State) -> Tensor | Output | Competition:
        """Return logits (B, 2, ·, ·) of one way in the queries, an `Output` with them, or a `Competition` of ways."""
        raise NotImplementedError

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring logits (B, 2, ·, ·) to the size (h, w) at which they decide: bilinear, corners aligned, float32."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.interpolate(wide, size, mode="bilinear", align_corners=True)

    def train_loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        """Return the losses of an output; the mean cross-entropy of all pixels, void is background, unless overridden.

        The entry "loss" is minimised, all are logged.
        """
        height, width = target.labels.shape[1:]
        return {"loss": F.cross_entropy(self.resize(output.logits, (height, width)), (target.labels == 1).long())}

    # The loop over ways and shots -----------------------------------------------------------------------------------

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Answer one episode, a way after the other: nothing of a way depends on how many there are."""
        with self._precision(episode):
            return self.answer_ways(episode)

    def _precision(self, batch: EpisodeBatch) -> AbstractContextManager[Any]:
        device = batch.images.device.type
        return torch.autocast(device, enabled=False) if self.decides_by_order else nullcontext()

    def answer_ways(self, episode: EpisodeBatch) -> Prediction:
        """Answer the ways of one episode, in whatever precision is set."""
        height, width = episode.query_sizes[0].tolist()
        query, supports = self.ask(episode)
        if self.competes:
            return self.compete(self.segment(query, self.join(supports)), (height, width))
        return self.decide((self.outputs(query, of_way) for of_way in supports), (height, width))

    def decide(self, ways: Iterator[Iterator[Output]], size: tuple[int, int]) -> Prediction:
        """Return the prediction of an episode from the outputs of each way, which are computed as they are read."""
        attention: list[Tensor] = []
        return self.predict((self.read(outputs, size, attention) for outputs in ways), attention)

    def ask(self, episode: EpisodeBatch) -> tuple[Features, Iterator[Iterator[State]]]:
        """Return the query of an episode, and the supports of each way that has any, computed as they are read."""
        shown = None if episode.support_ways is None else episode.support_ways[0]
        number = int(episode.episodes[0])
        self.context = Context(
            episode.images.shape[-1], (number,), None, episode.support[0], shown, episode.hints or (),
            episode.counted_pixels,
        )  # fmt: skip
        masks = episode.support_labels if self.reads_void else episode.support_masks
        ways = zip(episode.support[0], masks[0], episode.valid[0].any(1).tolist(), strict=True)
        return self.query(self.features(episode, episode.query)), self.all_ways(
            (
                self.support(self.support_features(episode, row, mask), mask)
                for row, mask in zip(rows.split(1), masks.split(1), strict=True)
            )
            for rows, masks, shown in ways
            if shown
        )

    def outputs(self, query: Features, supports: Iterator[State]) -> Iterator[Output]:
        """Yield what `segment` says of each support of a way, or once of all together."""
        for state in [self.join(supports)] if self.shots == "joined" else supports:
            yield self.output(query, state)
            del state  # the next one comes while nothing of this is held

    def output(self, query: Features, state: State) -> Any:
        """Return what `segment` says, as an `Output` where that is logits alone."""
        output = self.segment(query, state)
        return Output(output) if isinstance(output, Tensor) else output

    def read(self, outputs: Iterator[Output], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Make one answer of a way's outputs by the rule for shots; their mean attention is added to the list."""
        maps: list[Tensor] = []

        def full() -> Iterator[Shot]:
            for output in outputs:
                if self.keeps_soft_masks and output.attention is not None:
                    maps.append(output.attention)
                presence = None if output.presence is None else _at_least_single(output.presence)[0]
                yield Shot(self.resize(output.logits, size)[0], presence)

        way = self.rule(full())
        if attention is not None and maps:
            attention.append(torch.stack(maps).mean(0) if len(maps) > 1 else maps[0])
        return way

    def rule(self, shots: Iterator[Shot]) -> Way:
        """Make one answer of a way's shots: by the rule that `shots` names, unless overridden."""
        return RULES[self.shots](shots)

    def predict(self, ways: Iterable[Way], attention: Sequence[Tensor]) -> Prediction:
        """Return the prediction of an episode from its ways: a pixel's is the first with the largest score there.

        Of each way no more is held than its soft mask and its presence.
        """
        found, best, kept = torch.empty(0), torch.empty(0), []
        for number, way in enumerate(ways, 1):
            if number == 1:
                found, best = way.foreground.short(), way.score
            else:
                wins = way.foreground & ((found == 0) | (way.score > best))
                found, best = torch.maximum(found, wins.short() * number), torch.where(wins, way.score, best)
            probability = way.probability if way.logits is None else None
            kept.append((way.present, way.presence_score, way.logits, probability))
            del way  # the next one comes while nothing else of this is held
        maps = torch.cat(list(attention)).float() if attention else None
        present, score, logits, soft = (_stacked(values) for values in zip(*kept, strict=True))
        return Prediction(found.long(), present, score, logits, soft, maps)

    def compete(self, output: Competition, size: tuple[int, int]) -> Prediction:
        """Return the prediction of an episode in which background and ways compete."""
        full = self.resize(output.logits, size)[0]
        return Prediction(
            first_largest(full), output.present, output.presence_score, one_against_rest(full),
            attention=output.attention if self.keeps_soft_masks else None,
        )  # fmt: skip

    # Training -------------------------------------------------------------------------------------------------------

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        with self._precision(batch):
            return self.losses(*self.lesson(batch))

    def lesson(self, batch: EpisodeBatch) -> tuple[Features, Iterator[tuple[Features, Tensor]], Target]:
        """Return the queries of a training batch, the supports of each shot with their masks (B, S, S), and the truth.

        Supports are computed as they are read.
        """
        truth = batch.known_truth()
        target = Target(torch.stack(truth.label_maps), truth.presence[:, 0], truth.classes[:, 0], truth.base_maps)
        numbers = tuple(batch.episodes.tolist())
        self.context = Context(batch.images.shape[-1], numbers, target.classes, hints=batch.hints or ())
        shots = 1 if self.trains_one_shot else batch.support.shape[2]
        parts = (batch.support[:, 0, :shots].unbind(1), batch.support_masks[:, 0, :shots].unbind(1))
        supports = ((self.support_features(batch, *shot), shot[1]) for shot in zip(*parts, strict=True))
        return self.features(batch, batch.query), supports, target

    def losses(self, query: Features, supports: Iterator[tuple[Features, Tensor]], target: Target) -> dict[str, Tensor]:
        """Return the losses of a lesson: those of what is said of its queries, unless overridden.

        A method that learns from the masks of supports, too, overrides it.
        """
        asked = self.query(query)
        (output,) = self.outputs(asked, (self.support(*shot) for shot in supports))
        return self.train_loss(output, target)

    @property
    def trains_one_shot(self) -> bool:  # type: ignore[override]
        """True where shots are read one by one: training then looks at the first."""
        return self.shots != "joined"

    # Features -------------------------------------------------------------------------------------------------------

    def features(self, batch: EpisodeBatch, rows: Tensor, supports: bool = False) -> Features:
        """Return the features of images `rows` (B,) of a batch; each is encoded alone, and kept.

        Args:
            batch: the images.
            rows: of one role: queries, or supports of one shot.
            supports: they are supports.
        """
        if self.training and self.trains_features:
            return self.training_features(torch.stack([batch.pixels(row) for row in rows.tolist()]), supports)
        images = [self._kept_features(batch, row, supports) for row in rows.tolist()]
        return self.as_features(_together(images))

    def _kept_features(self, batch: EpisodeBatch, row: int, support: bool) -> Any:
        if self.sees_pixels:
            return self._image(batch, row)
        name, kept = batch.image_names[row], self.backbone.cache.get
        if not self._tells_roles:
            return kept("features", name, lambda: _flat(self.encode(batch, row)))

        def as_query() -> Any:
            encoded, image = self.encode(batch, row), self._image(batch, row)
            kept("support", name, lambda: _flat(self.as_support(encoded)))  # which costs little now
            return _flat(self.as_query(encoded, image))

        if support:
            return kept("support", name, lambda: _flat(self.as_support(self.encode(batch, row))))
        return kept("query", name, as_query)

    def as_query(self, encoded: Any, image: Tensor) -> Any:
        """Return what is kept of an image as a query, of its features and pixels: the features, unless overridden."""
        return encoded

    def as_support(self, encoded: Any) -> Any:
        """Return what is kept of an image as a support: the features, unless overridden."""
        return encoded

    @property
    def _tells_roles(self) -> bool:
        """True where what is kept of an image depends on its role."""
        own, base = type(self), OneWaySegmenter
        return own.as_query is not base.as_query or own.as_support is not base.as_support

    def _image(self, batch: EpisodeBatch, row: int) -> Tensor:
        return batch.images[row] if self.raw_images else batch.pixels(row)

    blacks_out = False
    """True for methods that look at supports whose background is black, and so encode an image anew for each mask."""

    def support_features(self, batch: EpisodeBatch, rows: Tensor, masks: Tensor) -> Features:
        """Return the features of images `rows` (B,) as supports with masks (B, S, S)."""
        if not self.blacks_out:
            return self.features(batch, rows, supports=True)
        images = [batch.pixels(row) * mask for row, mask in zip(rows.tolist(), masks, strict=True)]
        if self.encodes_together:
            found = [_flat(one) for one in self.backbone.encode_together(torch.stack(images))]
        else:
            named = zip(rows.tolist(), masks, images, strict=True)
            found = [self._object(batch.image_names[row], mask, image) for row, mask, image in named]
        return self.as_features(_together(found))

    def _object(self, name: str, mask: Tensor, image: Tensor) -> Any:
        """Return the features of an image that is black but for its mask; kept by both."""
        shown = hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest()
        return self.backbone.cache.get("objects", f"{name} {shown}", lambda: _flat(self.encode_image(image)))

    def encode(self, batch: EpisodeBatch, row: int) -> Any:
        return self.encode_image(batch.images[row]) if self.raw_images else super().encode(batch, row)

    def as_features(self, tensors: tuple[Tensor, ...] | Tensor) -> Features:
        """Return features in the form that a method reads, from the tensors that are kept."""
        return tensors

    trains_features = False
    """True where training passes change the network's features, as BatchNorm in training mode does."""

    def training_features(self, pixels: Tensor, supports: bool) -> Features:
        """Return features of training images (B, 3, S, S); only where `trains_features`."""
        raise NotImplementedError

    # Export ---------------------------------------------------------------------------------------------------------

    def query_part(self, episode: EpisodeBatch) -> "OneWayGraph":
        supports = self.ask(episode)[1]
        if self.competes:
            states = self.join(supports)
        elif self.shots == "joined":
            states = [[_listed(self.join(of_way))] for of_way in supports]
        else:
            states = [list(of_way) for of_way in supports]
        return OneWayGraph(self, episode.pixels(int(episode.support[0, 0, 0])), states)

    def network_of(self, pixels: Tensor) -> torch.nn.Module | None:
        """Return the frozen network for images like `pixels` (3, S, S); None where it is a part of the method."""
        return self.backbone.network(pixels)


class OneWayGraph(QueryPart):
    """A method with the states of its supports built in, as `fsbench export` writes it.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        states: of each way and shot, or of all shots of a way together; of methods in which ways compete, of all ways.
    """

    method: OneWaySegmenter

    def __init__(self, method: OneWaySegmenter, pixels: Tensor, states: State):
        super().__init__(method.network_of(pixels))
        self.method = method
        self._states = _built_in(self, "state", states)

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        method = self.method
        method.context = Context(pixels.shape[-1])
        encoded = pixels if method.sees_pixels else _flat(method.as_query(method.encode_image(pixels), pixels))
        query = method.query(method.as_features(_together([encoded])))
        if method.competes:
            found = method.compete(method.segment(query, self._states()), size)
            rest = found.logits.softmax(1)[:, 1]
            margin = margin_of_classes(torch.cat([1 - rest.sum(0, keepdim=True), rest]))
            return Decision(found.label_map, margin, found.present, found.presence_score)
        ways = [method.read((method.output(query, state) for state in shots), size) for shots in self._states()]
        prediction = method.predict(ways, [])
        margin = torch.stack([way.margin() for way in ways if way.margin is not None]).amin(0)
        if len(ways) > 1:
            margin = torch.minimum(margin, margin_of_classes(torch.stack([way.score for way in ways])))
        return Decision(prediction.label_map, margin, prediction.present, prediction.presence_score)


def _built_in(module: torch.nn.Module, name: str, state: State) -> Callable[[], State]:
    """Register the tensors of a state as buffers; return a function that gives the state with these."""
    if isinstance(state, Tensor):
        module.register_buffer(name, state)
        return lambda: getattr(module, name)
    if isinstance(state, tuple | list):
        parts = [_built_in(module, f"{name}_{number}", part) for number, part in enumerate(state)]
        make = cast(Any, type(state))
        if hasattr(state, "_fields"):
            return lambda: make(*(part() for part in parts))
        return lambda: make(part() for part in parts)
    if is_dataclass(state):
        named = {one.name: _built_in(module, f"{name}_{one.name}", getattr(state, one.name)) for one in fields(state)}
        return lambda: cast(Any, type(state))(**{key: part() for key, part in named.items()})
    return lambda: state


def _listed(state: State) -> State:
    """Return a state whose parts come one after the other as a list of them."""
    return list(state) if isinstance(state, Iterator) else state


def _flat(features: Any) -> Any:
    """Return features as a tensor, or a tuple of those tensors that there are."""
    return features if isinstance(features, Tensor) else tuple(part for part in features if part is not None)


def _together(images: Sequence[Any]) -> Features:
    """Stack the features of images, tensor by tensor; those of one image are not copied."""
    first = images[0]
    if isinstance(first, Tensor):
        return first[None] if len(images) == 1 else torch.stack(list(images))
    parts = [_together(parts) for parts in zip(*images, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    """Stack values, if all are there; one alone is not copied."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return None
    return there[0][None] if len(there) == 1 else torch.stack(there)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
