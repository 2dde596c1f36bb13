"""HDMNet's distillation of matching maps, from the label down to the finest map (hdmnet.md §6).

Shapes: b samples, H image side, h_i the side of a map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = -1e9
"""Value of the first teacher outside of the object, which a softmax makes 0."""
EPSILON = 1e-12


def distillation_terms(maps: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return the divergence of each matching map from its teacher, whose mean is the loss.

    The first teacher is the label; each next one is the map before, without gradient. Softmaxes are over all
    positions. Of an object so small that no position of the coarsest map lies inside, the position that is most inside
    is the whole teacher, and where two are equally so, rounding decides.

    Args:
        maps: (b, h_i, h_i), from coarse to fine, float32 or more.
        target: labels (b, H, H); 1 is foreground, anything else, void included, is not.

    Returns:
        as many terms as maps, each a mean over samples.
    """
    teacher, terms = torch.where(target == 1, 1.0, OUTSIDE).to(maps[0]), []
    for student in maps:
        side = student.shape[-2:]
        if teacher.shape[-2:] != side:
            teacher = F.interpolate(teacher[:, None], side, mode="bilinear", align_corners=False)[:, 0]
        wanted, found = teacher.flatten(1).softmax(1), student.flatten(1).softmax(1)
        divergence = wanted * ((wanted + EPSILON).log() - (found + EPSILON).log())
        terms.append(divergence.sum(1).mean())
        teacher = student.detach()
    return torch.stack(terms)
