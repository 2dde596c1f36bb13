"""Check that a method, where its steps can be traced, becomes a graph that answers as the method does."""

from dataclasses import replace

import torch

from fsbench.core.export import ImageGraph, UntraceableError, trace, with_supports
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.networks.ops.image_resizing import TENSOR_RESIZES
from fsbench.runner.contract.subject import NotApplicableError, Subject, ViolationError

RULE = "pil"
NEAR = 1e-3
"""Largest margin of a pixel whose label differs."""
SHARE = 1e-3
"""Largest share of such pixels."""


def check_export(subject: Subject) -> str:
    """Check that the method, traced once with its supports, predicts its own labels for several query sizes.

    Returns a sentence on what was measured. Raises ViolationError if the labels differ.
    """
    method = subject.method
    if not isinstance(method, Segmenter):
        raise NotApplicableError("a classifier of whole images is not exported")
    episode = subject.episode(60)
    assert isinstance(episode, EpisodeBatch)
    episode = episode.without_truth()
    try:
        part = with_supports(method, episode)
        graph = trace(ImageGraph(part, [0.5] * episode.support.shape[1], subject.size, RULE)).module()
    except UntraceableError as error:
        raise NotApplicableError(f"the method is not exported: {error}") from error
    own = episode.images[int(episode.query[0])].permute(1, 2, 0)
    images = [own, own[: subject.size // 2], own[:, : subject.size // 3].repeat(2, 1, 1)]
    other = total = 0
    with torch.no_grad():
        for image in images:
            small = TENSOR_RESIZES[RULE](image, subject.size).to(torch.uint8)
            size = (image.shape[0], image.shape[1])
            asked = replace(
                episode,
                images=episode.images.index_copy(0, episode.query[:1], small[None]),
                query_sizes=torch.tensor([size]),
            )
            expected = method.predict_shots(asked)
            labels, present, _ = graph(image.contiguous())
            differs = labels.long() != expected.label_map
            margin = part(normalise(small), size).margin[differs]
            far = float(margin.max()) if len(margin) else 0.0
            if float(differs.float().mean()) > SHARE or far > NEAR:
                raise ViolationError(
                    f"{int(differs.sum())} of {differs.numel()} labels of a graph that are not the method's, up to "
                    f"{far:.2g} from the threshold",
                    f"at most {SHARE:.1%} of them, and those within {NEAR:g}",
                    "decide by `read` or `compete` as in an answer, and look at no value of the query in Python",
                )
            if expected.presence_score is not None and not torch.equal(present == 1, expected.presence_score > 0.5):
                raise ViolationError(
                    "scores of presence of a graph that are not the method's",
                    "the same",
                    "decide presence in `read` or `compete`",
                )
            other, total = other + int(differs.sum()), total + differs.numel()
    return f"a graph traced once gives {total - other} of {total} labels of {len(images)} images of other sizes"
