"""A method with its supports as one graph: an image of any size in, a label map and presence out.

Shapes: N ways, H W the image, S the method's image side.
"""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fsbench.base.errors import SettingsError
from fsbench.core.query_graph import QueryGraph
from fsbench.core.segmenter import Segmenter
from fsbench.core.shot_ensemble import ENSEMBLES
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.networks.ops.image_resizing import TENSOR_RESIZES

SMALLEST = 2
"""Pixels of the shorter side of an image that a graph takes."""
OUTPUTS = ("labels", "present", "score")
"""Names of what a graph gives."""
TRACED = (67, 61)
"""Height and width of the image that a graph is traced with; it takes any other."""


class ImageGraph(nn.Module):
    """A method with its supports, and what comes before and after it: resizing, normalisation, presence.

    Args:
        part: the method with its supports.
        ways: N.
        image_size: S.
        resize: rule of `TENSOR_RESIZES` by which images become S x S.
        only_present: remove the pixels of classes that a method, deciding both, says are not present.
    """

    def __init__(self, part: QueryGraph, ways: int, image_size: int, resize: str, only_present: bool = False):
        super().__init__()
        self.part, self.ways, self.image_size, self.only_present = part, ways, image_size, only_present
        self.resize_image = TENSOR_RESIZES[resize]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Segment an image (H, W, 3) uint8.

        Returns:
            labels (H, W) uint8, 0 background, 1..N ways; present (N,) bool; score (N,) float32. Of methods that only
            segment, a way is present where it has a pixel, and its score is its share of the pixels.
        """
        pixels = normalise(self.resize_image(image, self.image_size))
        found = self.part(pixels, (image.shape[0], image.shape[1]))
        labels, present, score = found.label_map, found.present, found.score
        if present is None or score is None:
            numbers = torch.arange(1, self.ways + 1, device=labels.device)
            score = (labels == numbers[:, None, None]).float().mean((1, 2))
            present = score > 0
        if self.only_present:
            kept = torch.cat([torch.zeros_like(present[:1]), present])
            labels = torch.where(kept[labels], labels, 0)
        return labels.to(torch.uint8), present, score.float()


def check_exportable(method: Segmenter, shots: int, resize: str) -> None:
    """Raise SettingsError where a method with these settings cannot become a graph."""
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
    """Return a method with the supports of an episode built in.

    Raises:
        UntraceableError: the method has no steps of its own for supports and queries.
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
    """Trace a graph for images of every size from `SMALLEST` pixels a side.

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


class UntraceableError(SettingsError):
    """A method cannot become a graph."""
