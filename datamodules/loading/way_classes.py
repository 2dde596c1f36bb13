"""Places and first episodes of the classes of a test's ways, for methods that ask for them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from fsbench.core.needs import ClassKnowledge
from fsbench.data.batch import EpisodeBatch, Opening, WayClass
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest

KEPT = 8
"""Number of first episodes that a loader keeps."""


class WayClasses:
    """Numbers the classes of a test, so that methods can recognise a class without knowing its name or number.

    Args:
        manifest: the list of episodes of the test.
        known: what methods may know about the classes; with "first episodes" also each class's first episode.
    """

    def __init__(self, manifest: Manifest, known: ClassKnowledge):
        header = manifest.header
        numbers = [*sorted(header.class_ids), *sorted(header.calibration_ids)]
        self._places = {number: place for place, number in enumerate(numbers)}
        self._first: dict[int, tuple[Episode, int]] = {}  # class number: its first episode, its order
        if known == "first episodes":
            for episode in manifest.episodes:
                for number in episode.classes:
                    self._first.setdefault(number, (episode, len(self._first)))
        self._kept: OrderedDict[int, EpisodeBatch] = OrderedDict()

    def told(self, episode: Episode, load: Callable[[Episode], EpisodeBatch]) -> list[WayClass]:
        """Return the identity of the class of each way of an episode, as the method gets it.

        Args:
            episode: the episode.
            load: function that loads an episode as a batch; called for the first episode of a class if methods get
                that.
        """
        return [WayClass(self._places[number], self._opening(number, load)) for number in episode.classes]

    def _opening(self, number: int, load: Callable[[Episode], EpisodeBatch]) -> Opening | None:
        if number not in self._first:
            return None
        episode, order = self._first[number]
        way = episode.classes.index(number)
        if number not in self._kept:
            loaded = load(episode).without_truth()
            ways = slice(way, way + 1)
            self._kept[number] = replace(
                loaded,
                support=loaded.support[:, ways],
                support_labels=loaded.support_labels[:, ways],
                valid=loaded.valid[:, ways],
                support_ways=None,
                ways=None,
                hints=None,
            )
        self._kept.move_to_end(number)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return Opening(self._kept[number], way, len(episode.classes), order)
