"""Which images of a folder to label next: those that the images to be segmented find themselves in.

An image is told by the features of its patches, a grid of at most 8 × 8, less the mean of all patches of the queries,
which says what these have in common. A patch of a query is covered by an image as well as its most similar patch there
is like it (cosine). A candidate that is a query, too, is no example for itself: its mean over the other queries stands
there until it is chosen, and it is covered then. The best image to label is that which covers the queries best on
average; the next is that which adds most to the labelled ones (the greedy choice of facility location). No mask is
needed, and none is known.

Shapes: N candidates, Q queries, P patches, D channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fsbench.base.errors import DataError
from fsbench.data.clutter import clutter
from fsbench.networks.backbones.patch_features import patch_features
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import QueryImage

CELLS = 8
"""Most patches in a row or column of the grid."""
MOST_QUERIES = 100
"""Queries that are looked at, evenly spread where there are more: with them a candidate takes 25 KiB of memory."""


@dataclass(frozen=True)
class LabelChoice:
    """A candidate in its place.

    Attributes:
        candidate: its number.
        likeness: mean cosine of the other queries' patches to their most similar patches in it, -1 to 1.
        adds: how much it raises the mean over the queries' patches of the best cosine to all that is labelled before
            it; where nothing is, its likeness.
        closest: number of queries that it is more like than any other image that is labelled or chosen before it.
    """

    candidate: int
    likeness: float
    adds: float
    closest: int


def patch_grid(features: Tensor) -> Tensor:
    """Reduce patch features (h, w, D) to (P, D), the means of at most `CELLS` × `CELLS` cells."""
    maps = rearrange(features, "h w d -> d h w")
    size = min(CELLS, maps.shape[1]), min(CELLS, maps.shape[2])
    return rearrange(F.adaptive_avg_pool2d(maps, size), "d h w -> (h w) d")


class Queries:
    """The images that shall be segmented, by their patches.

    Args:
        grids: (P, D) of each, see `patch_grid`; one or more.
    """

    def __init__(self, grids: Sequence[Tensor]):
        patches = torch.stack(list(grids))
        self.mean = patches.flatten(0, 1).mean(0)
        self.patches = self._unit(patches)

    def _unit(self, patches: Tensor) -> Tensor:
        return F.normalize(patches - self.mean, dim=-1)

    def cover(self, grid: Tensor) -> np.ndarray:
        """Return the cosine (Q, P) float32 of every patch to the most similar one of an image's grid (P, D)."""
        cosines = self.patches @ self._unit(grid).T
        return cosines.amax(-1).cpu().numpy()


def without_itself(cover: np.ndarray, own: int | None) -> np.ndarray:
    """Return a cover (Q, P) where the mean of the others stands for query `own`, which is the image itself.

    It is left as it is where `own` is None, or there are no other queries.
    """
    if own is None or len(cover) == 1:
        return cover
    found = cover.copy()
    found[own] = np.delete(cover, own, 0).mean(0)
    return found


def spread_evenly(number: int, most: int = MOST_QUERIES) -> list[int]:
    """Return `most` of the places 0 to `number` - 1, evenly spread; all of them where there are no more."""
    return [place * number // most for place in range(most)] if number > most else list(range(number))


def choose_labels(
    covers: np.ndarray, labelled: np.ndarray | None, count: int, own: Sequence[int | None] = ()
) -> list[LabelChoice]:
    """Choose the candidates to label, the best first; of equal ones the first.

    Args:
        covers: (N, Q, P), what each candidate covers of the queries, see `Queries.cover`.
        labelled: (M, Q, P), what each of the M images that are labelled already covers; None where there is none.
        count: number to choose; all candidates where there are fewer.
        own: of each candidate the query that it is itself, which nothing adds to once it is chosen; None where it is
            none.
    """
    likeness = covers.mean((1, 2), dtype=np.float64)
    left = list(range(len(covers)))
    best, closest = None, np.full(covers.shape[1], -np.inf)
    if labelled is not None:
        best, closest = labelled.max(0), labelled.mean(2).max(0)
    chosen: list[LabelChoice] = []
    while left and len(chosen) < count:
        before = 0.0 if best is None else best.mean(dtype=np.float64)
        totals = likeness
        if best is not None:
            totals = np.array([np.maximum(best, cover).mean(dtype=np.float64) for cover in covers])
        number = max(left, key=lambda candidate: (totals[candidate], -candidate))
        nearer = covers[number].mean(1) > closest
        chosen.append(LabelChoice(number, float(likeness[number]), float(totals[number] - before), int(nearer.sum())))
        best = covers[number] if best is None else np.maximum(best, covers[number])
        closest = np.maximum(closest, covers[number].mean(1))
        itself = own[number] if own else None
        if itself is not None:
            best = best.copy()
            best[itself] = closest[itself] = 1
        left.remove(number)
    return chosen


@dataclass(frozen=True)
class RankedImages:
    """Images to label, the best first.

    Attributes:
        names: of the images, by path below their folder.
        choices: their figures.
        clutter: of each, see `fsbench.data.clutter.clutter`.
        candidates, queries: numbers of images that were compared.
    """

    names: list[str]
    choices: list[LabelChoice]
    clutter: list[float]
    candidates: int
    queries: int


def rank_images(
    predictor: Predictor,
    candidates: Sequence[QueryImage],
    queries: Sequence[QueryImage],
    count: int,
    refused: list[str],
    threads: int = 2,
) -> RankedImages:
    """Rank the images of a folder by what labelling them would add, by the frozen network of a predictor.

    Args:
        predictor: its supports are what is labelled already.
        candidates: images to choose from.
        queries: images that shall be segmented, of which `MOST_QUERIES` are looked at.
        count: number of images to choose.
        refused: collects messages about images that cannot be read, which are left out.
        threads: that decode images.

    Raises:
        DataError: no candidate or no query can be read.
        SettingsError: the network gives no features of patches.
    """

    def grid(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            return patch_grid(patch_features(predictor.method.backbone, pixels.to(predictor.device)))

    def readable(images: Sequence[QueryImage]) -> Iterator[tuple[QueryImage, LoadedImage]]:
        for image, loaded in zip(images, predictor.load_images(images, threads), strict=True):
            if isinstance(loaded, LoadedImage):
                yield image, loaded
            elif str(loaded) not in refused:
                refused.append(str(loaded))

    spread = [queries[place] for place in spread_evenly(len(queries))]
    grids = {image.path.resolve(): grid(loaded.pixels) for image, loaded in readable(spread)}
    if not grids:
        raise DataError(f"none of the {len(spread)} images to be segmented can be read; {refused[0]}")
    compared, places = Queries(list(grids.values())), {path: place for place, path in enumerate(grids)}
    names, covers, steps, own = [], [], [], []
    for image, loaded in readable(candidates):
        path = image.path.resolve()
        names.append(image.name)
        cover = compared.cover(grids[path] if path in grids else grid(loaded.pixels))
        own.append(places.get(path))
        covers.append(without_itself(cover, own[-1]))
        steps.append(clutter(loaded.preview))
    if not names:
        raise DataError(f"none of the {len(candidates)} images to choose from can be read; {refused[0]}")
    supports = {support.image_name: support for support in predictor.supports}.values()
    labelled = [compared.cover(grid(predictor.loader.load(support.pixels).pixels)) for support in supports]
    choices = choose_labels(np.stack(covers), np.stack(labelled) if labelled else None, count, own)
    chosen = [choice.candidate for choice in choices]
    return RankedImages(
        [names[number] for number in chosen], choices, [steps[number] for number in chosen], len(names), len(grids)
    )
