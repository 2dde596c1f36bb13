"""A method with its supports built in: what is left of an answer once the supports are known, as one graph.

Shapes: N ways, S image side, (h, w) the size of a label map.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from fsbench.core.image_features import flat, together
from fsbench.core.outputs import Context
from fsbench.core.segmenter import Segmenter, State, as_list
from fsbench.data.batch import EpisodeBatch


class Decision(NamedTuple):
    """A decision about every pixel of a query.

    Attributes:
        label_map: (h, w) int64, 0 background, 1..N ways.
        margin: (h, w) in [0, 1], the smallest change of a probability by which a pixel's label becomes another.
        present: (N,) bool; None for methods that only segment.
        score: (N,) float in [0, 1], how sure the method is that a way is present; None like `present`.
    """

    label_map: Tensor
    margin: Tensor
    present: Tensor | None = None
    score: Tensor | None = None


class QueryGraph(nn.Module):
    """A method with the states of an episode's supports as buffers; the query of the episode is not read.

    Args:
        method: the method. No step of its `query`, `segment` and `resize` may look at values of the query in Python: a
            graph is traced once, for all queries.
        episode: one episode.

    Raises:
        NotImplementedError: the method answers in steps of its own, which are not those of a graph.
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
        """Decide about a query.

        Args:
            pixels: (3, S, S) float32, normalised.
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
            margin = torch.minimum(margin, _lead(torch.stack([way.score for way in ways])))
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
