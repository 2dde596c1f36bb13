"""Few-shot segmentation as HSNet, DCAMA and their followers evaluate it (fss-protocol)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.draws import draw_query, repeated_supports
from fsbench.protocols.geometry import QuerySize
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.segmentation import Segmentation


@dataclass(frozen=True)
class HSNet(Segmentation):
    """1-way K-shot; the query shows the class; pixels are counted at the method's input size."""

    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000, "fss1000": "all"})
    query_size: QuerySize = "input"

    supports_repeat: ClassVar[bool] = True
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        "pascal": ListsAndDraw("hsnet", "by the list", "list of pairs"),
        "coco": ListsAndDraw("hsnet", "2048 by the list", "class then image"),
        "fss1000": ListsAndDraw("hsnet", "none", "list of images"),
        "isaid": ListsAndDraw("own", "by the list", "list of pairs"),
    }
    drawing: ClassVar[str] = (
        "one after the other from one stream: PASCAL's queries go through the list, COCO's are drawn class first; an "
        "image may be drawn twice as a support, so 5 shots can be fewer images"
    )

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        return hsnet_episodes(pool, shot=task.shot, seed=self.test_seed(task) or 0)


def hsnet_episodes(pool: Pool, *, shot: int, seed: int = 0) -> Iterator[Episode]:
    """All 1-way episodes that HSNet's program draws, one after the other from one stream (fss-protocol §5).

    Supports of an episode may repeat. Raises TooFewImages where the official program would loop forever.
    """
    rng = np.random.RandomState(seed)
    index = 0
    while True:
        query, number = draw_query(index, rng, pool, 1)
        images = pool.images_of.get(number, ())
        if not set(images) - {query}:
            raise TooFewImages(number, 0, 1)
        yield Episode(index, query, number, (number,), (repeated_supports(rng, images, query, shot),))
        index += 1
