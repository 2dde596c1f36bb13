"""VRP-SAM: annotations of supports (vrp-sam.md §11)."""

import torch

from fsbench.data.support_annotation import (
    LARGE,
    SMALL,
    AnnotationStreams,
    box_corners,
    draw_annotation,
    new_strokes,
    points,
    scribble,
)
from tests.goldens.harness import EXACT, Case, Comparisons, absolute


def annotation(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    masks, streams = t["in.mask"], AnnotationStreams.seeded(c["seed"])
    brush = SMALL if c["preset"] == "rand_curve_small" else LARGE
    if not c["training"]:
        drawn = draw_annotation(masks, c["condition"], streams)
    elif c["condition"] == "point":
        drawn = torch.stack([points(mask > 0, c["count"], streams.places) for mask in masks])
    else:
        drawn = torch.stack([scribble(mask > 0, c["count"], brush, streams) for mask in masks])
    yield case.compare("out.annotation", drawn, EXACT)
    yield case.compare("out.boxes", torch.tensor([box_corners(mask > 0) for mask in masks]), EXACT)
    streams = AnnotationStreams.seeded(c["seed"])
    if c["condition"] == "scribble":
        for i, mask in enumerate(masks):
            starts, strokes = new_strokes(mask > 0, c["count"] or 9, brush, streams)
            yield case.compare(f"mid.points_{i}", starts, absolute(1e-6))
            if not i:
                yield case.compare("mid.stroke_0", strokes[0].vertices.T, absolute(1e-6))


KINDS = {"vrp_annotation": annotation}
