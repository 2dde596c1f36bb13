"""The prediction of one episode."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Prediction:
    """A method's prediction of one episode.

    Attributes:
        label_map: (h, w) integers, 0 background, 1..N ways, at the query's original size.
        present: (N,) bool, way is present; None for methods that only segment (the protocol derives it from the mask).
        presence_score: (N,) float in [0, 1], how sure the method is that the way is present; None like `present`.
        logits: (N, 2, h, w), each way by itself, entry 1 its foreground; what the ensembles of one-shot predictions
            need (`nshot_strategy`), else it may be None.
    """

    label_map: Tensor
    present: Tensor | None = None
    presence_score: Tensor | None = None
    logits: Tensor | None = None
