"""A method with its supports as one graph: an image of any size in, a label map and presence out.

`QueryGraph` is the method once its supports are known, `ImageGraph` what comes before and after it.

Shapes: N ways, H W the image, S the method's image side, (h, w) the size of a label map.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fsbench.base.errors import SettingsError
from fsbench.core.image_features import flat, together
from fsbench.core.outputs import Context
from fsbench.core.segmenter import Segmenter, State, as_list
from fsbench.core.shot_ensemble import ENSEMBLES
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.networks.ops.image_resizing import TENSOR_RESIZES

SMALLEST = 2
"""Pixels of the shorter side of an image that a graph takes."""
OUTPUTS = ("labels", "present", "score")
"""Names of what a graph gives."""
TRACED = (67, 61)
"""Height and width of the image that a graph is traced with; it takes any other."""


class UntraceableError(SettingsError):
    """A method cannot be traced into a graph for export."""


class Decision(NamedTuple):
    """An exported method's decision about every pixel of a query.

    Attributes:
        label_map: (h, w) int64, 0 background, 1..N the episode's classes (ways).
        margin: (h, w) float, the smallest change that gives a pixel another label: a change of a probability, or of the
            score by which ways are compared (relative to that score where it is above 1).
        present: (N,) bool, whether the query shows each way; None for methods that only segment.
        score: (N,) float in [0, 1], how sure the method is that a way is present; None where `present` is None.
    """

    label_map: Tensor
    margin: Tensor
    present: Tensor | None = None
    score: Tensor | None = None


class QueryGraph(nn.Module):
    """A segmentation method as a traceable module: its supports are buffers, and the query is the only input.

    Args:
        method: the method. Its `query`, `segment` and `resize` must not branch in Python on values of the query: the
            graph is traced once, for all queries.
        episode: one episode, whose supports are built in.

    Raises:
        NotImplementedError: the method overrides the loop over shots and ways, or its network takes raw images.
    """

    method: Segmenter

    def __init__(self, method: Segmenter, episode: EpisodeBatch):
        super().__init__()
        own, base = type(method), Segmenter
        if own.outputs is not base.outputs or own.decide is not base.decide:
            raise NotImplementedError("it goes over shots or ways by itself")
        if method.raw_images:
            raise NotImplementedError("its network takes images as they are stored, and a file has them normalised")
        supports = method.ask(episode)[1]
        if method.competes:
            states = method.join(supports)
        elif method.shots == "joined":
            states = [[as_list(method.join(of_way))] for of_way in supports]
        else:
            states = [list(of_way) for of_way in supports]
        self.network = method.network_of(episode.pixels(int(episode.support[0, 0, 0])))
        self.method = method
        self._states = _built_in(self, "state", states)

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        """Return the label map of a query, with margins and, if the method decides it, presence of each way.

        Args:
            pixels: the query, (3, S, S) float32, normalised.
            size: (h, w) of the label map.
        """
        method = self.method
        method.context = Context(pixels.shape[-1])
        encoded = pixels if method.sees_pixels else flat(method.as_query(method.encode_image(pixels), pixels))
        query = method.query(method.as_features(together([encoded])))
        if method.competes:
            found = method.compete(method.output(query, self._states()), size)
            if found.logits is None:
                raise NotImplementedError("a method whose ways compete without logits has no margins")
            rest = found.logits.softmax(1)[:, 1]
            margin = _lead(torch.cat([1 - rest.sum(0, keepdim=True), rest]))
            return Decision(found.label_map, margin, found.present, found.presence_score)
        ways = [method.read((method.output(query, state) for state in shots), size) for shots in self._states()]
        prediction = method.predict(ways, [])
        margins = [way.margin() for way in ways if way.margin is not None]
        if len(margins) < len(ways):
            raise NotImplementedError("its `read` gives no margin of a decision")
        margin = torch.stack(margins).amin(0)
        if len(ways) > 1:
            scores = torch.stack([way.score for way in ways])
            margin = torch.minimum(margin, _lead(scores) / scores.abs().amax(0).clamp(min=1))
        return Decision(prediction.label_map, margin, prediction.present, prediction.presence_score)


def _lead(scores: Tensor) -> Tensor:
    """Return by how much (h, w) the largest of scores (M, h, w) is above the second."""
    first, second = scores.topk(2, 0).values
    return first - second


def _built_in(module: nn.Module, name: str, state: State) -> Callable[[], State]:
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


class ImageGraph(nn.Module):
    """A segmentation method with built-in supports, as a traceable module from a stored image to a label map.

    Args:
        part: the method with its supports; pixels of its ways after the N-th become background.
        thresholds: for each of the N ways the presence score above which an image shows the way; None where scores do
            not separate images with the way from images without it.
        image_size: side S of the square that the method sees.
        resize: name of the rule by which images are resized to S x S, a key of `TENSOR_RESIZES`.
        only_present: whether the pixels of absent ways are removed. A way is absent by its threshold or, where it has
            none, by the method's own decision.
    """

    thresholds: Tensor

    def __init__(
        self,
        part: QueryGraph,
        thresholds: Sequence[float | None],
        image_size: int,
        resize: str,
        only_present: bool = False,
    ):
        super().__init__()
        self.part, self.ways, self.image_size, self.only_present = part, len(thresholds), image_size, only_present
        known = torch.tensor([math.nan if one is None else one for one in thresholds], device=_device(part))
        self.register_buffer("thresholds", known)
        self.resize_image = TENSOR_RESIZES[resize]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Segment an image (H, W, 3) uint8.

        Returns:
            labels (H, W) uint8, 0 background, 1..N ways; present (N,) int8, 1 or 0, and -1 if it cannot be decided;
            score (N,) float32, NaN where `present` is -1. Of methods that only segment, the score of a way is its share
            of the pixels.
        """
        pixels = normalise(self.resize_image(image, self.image_size))
        found = self.part(pixels, (image.shape[0], image.shape[1]))
        labels = torch.where(found.label_map > self.ways, 0, found.label_map)
        if found.present is None or found.score is None:
            numbers = torch.arange(1, self.ways + 1, device=labels.device)
            score = (labels == numbers[:, None, None]).float().mean((1, 2))
            own = score > 0
        else:
            own, score = found.present[: self.ways], found.score[: self.ways].float()
        tells = ~self.thresholds.isnan()
        present = (score > self.thresholds) | (own & ~tells)  # nothing is above NaN
        if self.only_present:
            kept = torch.cat([torch.zeros_like(present[:1]), present])
            labels = torch.where(kept[labels], labels, 0)
        told = torch.where(tells, present.long(), -1)  # onnxruntime has no `where` for fewer bits
        return labels.to(torch.uint8), told.to(torch.int8), torch.where(tells, score, math.nan)


def check_exportable(method: Segmenter, shots: int, resize: str) -> None:
    """Check that a method with these settings can be traced into a graph.

    Args:
        method: the method.
        shots: number of supports of each class.
        resize: name of the rule by which images are resized.

    Raises:
        SettingsError: the backbone rounds to less than float32, several shots are combined by an ensemble, or the rule
            for resizing has no form for tensors.
    """
    name = method.registry_name
    rounds = {"precision": method.backbone.precision != "fp32", "cache_dtype": method.backbone.cache_dtype != "float32"}
    for option, narrow in rounds.items():
        if narrow:
            raise SettingsError(
                f"{name} on features rounded by --model.backbone.{option} cannot be exported; expected float32"
            )
    if method.nshot_strategy in ENSEMBLES and shots > 1:
        raise SettingsError(
            f"nshot_strategy is {method.nshot_strategy}, whose {shots} passes cannot be exported; give nshot_strategy "
            "own, or one support of each class"
        )
    if resize not in TENSOR_RESIZES:
        raise SettingsError(
            f"images are resized by the rule '{resize}', which a file cannot have; expected one of "
            f"{', '.join(TENSOR_RESIZES)}, those of most protocols"
        )


def with_supports(method: Segmenter, episode: EpisodeBatch) -> QueryGraph:
    """Return the method as a module for tracing, with the supports of an episode built in.

    Raises:
        UntraceableError: the method does not compute supports and query in separate steps (`support` and `segment`).
    """
    try:
        with torch.no_grad():
            return QueryGraph(method, episode).eval()
    except NotImplementedError as error:
        raise UntraceableError(
            f"{method.registry_name} cannot be exported: {str(error) or 'it answers supports and query in one'}; "
            "expected `support` and `segment`, and no loop over shots or ways"
        ) from error


def trace(graph: ImageGraph) -> ExportedProgram:
    """Export the module with torch.export, for images of any size from `SMALLEST` pixels on.

    Raises:
        UntraceableError: a step of the method cannot be traced.
    """
    image = torch.zeros(*TRACED, 3, dtype=torch.uint8, device=_device(graph))
    sizes = {"image": {0: Dim("height", min=SMALLEST, max=2**15), 1: Dim("width", min=SMALLEST, max=2**15)}}
    try:
        with torch.no_grad():
            return torch.export.export(graph.eval(), (image,), dynamic_shapes=sizes)
    except Exception as error:  # whatever torch, numpy or a package says of a step that looks at values
        told = (str(error).strip().splitlines() or [""])[0]
        raise UntraceableError(
            f"a step of the method cannot be traced ({type(error).__name__}: {told}); expected steps that look at no "
            "value of the query in Python"
        ) from error


def _device(graph: nn.Module) -> torch.device:
    """Return where the tensors of a graph are; some have no parameters."""
    tensor = next(iter((*graph.parameters(), *graph.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device
