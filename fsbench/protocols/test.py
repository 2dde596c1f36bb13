"""A test: its episodes, its data, and the protocol that says how answers to them are counted.

Everything that evaluates shares it: a run of the suite, a function in Python, a file of masks from anywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import FsbenchError, SettingsError
from fsbench.base.files import fingerprint
from fsbench.data.connected import Box
from fsbench.data.copies import copy_remarks, group_remarks
from fsbench.data.dataset import ClassificationData
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.file_digests import content_digests, contents_sha256, image_digests, states_sha256
from fsbench.data.file_rules import remark
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import way_labels
from fsbench.protocols.counting import ImageCounting
from fsbench.protocols.notebook_view import outlined, tiles_html
from fsbench.protocols.protocol import Protocol

MOST_QUERIES = 5
"""Query images of an episode of classification that a notebook shows at most."""


@dataclass(frozen=True)
class VisibleSupport:
    """A labelled image of an episode, read on access.

    Attributes:
        name: the name of the image in the data set.
        file: the file of the image.
        number: number of the class that it is labelled with.
        box: (x, y, width, height) in pixels, if the test labels supports with boxes instead of masks; else None.
    """

    name: str
    file: Path
    number: int
    box: Box | None
    _image: Callable[[], np.ndarray] = field(repr=False)
    _mask: Callable[[], np.ndarray] = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The support image at its own size, (H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be decoded.
        """
        return self._image()

    @property
    def mask(self) -> np.ndarray:
        """The support's labels (H, W) uint8: 1 on the support's class, 255 void, else 0.

        Raises:
            DataError: the label map cannot be decoded.
        """
        return self._mask()


@dataclass(frozen=True)
class VisibleEpisode:
    """An episode as a method may see it, without its ground truth; images are read on access.

    Attributes:
        number: the number of the episode in its manifest.
        query_name: name of the query image in the data set.
        query_file: file of the query image; in a user's own data set `query` is turned by the file's EXIF entry.
        classes: class numbers of the N ways; label n of a predicted mask is `classes[n - 1]`.
        supports: for each way (class) the K labelled images; () for a base class, which has no supports as methods know
            it from training.
        answer_size: function from the query's (height, width) to the (height, width) of the mask to predict; it returns
            None if the mask has the size of the method's input.
        test: sha256 of the list of episodes that it is of.

    Examples:
        >>> import fsbench
        >>> episode = fsbench.load_test("demo", protocol="pfenet", episodes=5)[0]
        >>> episode.query.shape, episode.query.dtype, episode.size, episode.way
        ((144, 115, 3), dtype('uint8'), (144, 115), 1)
        >>> support = episode.supports[0][0]  # way 0, shot 0
        >>> support.image.shape[:2] == support.mask.shape
        True
    """

    number: int
    query_name: str
    query_file: Path
    classes: tuple[int, ...]
    supports: tuple[tuple[VisibleSupport, ...], ...]
    answer_size: Callable[[tuple[int, int]], tuple[int, int] | None] = field(repr=False)
    _query: Callable[[], np.ndarray] = field(repr=False)
    test: str = field(default="", repr=False)

    @cached_property
    def query(self) -> np.ndarray:
        """The query image at its own size, (H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be decoded.
        """
        return self._query()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the label map to predict.

        None if the protocol counts pixels at the size of the method's input; every label map then has that size.
        """
        return self.answer_size((self.query.shape[0], self.query.shape[1]))

    @property
    def way(self) -> int:
        """The number N of classes to segment."""
        return len(self.classes)

    def _repr_html_(self) -> str:
        """Return the query and the supports with the outlines of their masks, for notebooks."""
        supports = (
            (f"label {way}, class {number}: {one.name}", outlined(one.image, None if one.box else one.mask, one.box))
            for way, (number, of_way) in enumerate(zip(self.classes, self.supports, strict=True), start=1)
            for one in of_way
        )
        query = f"query: {self.query_name}", outlined(self.query, None)
        size = "of the side of your input" if self.size is None else f"of {self.size[0]} × {self.size[1]} pixels"
        title = f"episode {self.number}: a mask {size}, labels 0 to {self.way}"
        return tiles_html(title, [query], supports, sum(map(len, self.supports)))


@dataclass(frozen=True)
class Photo:
    """An image of a classification episode, read on access.

    The file's name is hidden, since it often tells the class.
    """

    _image: Callable[[], np.ndarray] = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The image at its own size, (H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be decoded.
        """
        return self._image()


@dataclass(frozen=True)
class VisibleImages:
    """A classification episode as a method may see it; images are read on access.

    Attributes:
        number: the number of the episode in its manifest.
        classes: class numbers of the N ways; label n of an answer, from 1, is `classes[n - 1]`.
        supports: for each way (class) its K labelled images.
        queries: images to classify, shuffled so that their order gives away no classes.
        test: sha256 of the list of episodes that it is of.
    """

    number: int
    classes: tuple[int, ...]
    supports: tuple[tuple[Photo, ...], ...]
    queries: tuple[Photo, ...]
    test: str = field(default="", repr=False)

    def _repr_html_(self) -> str:
        """Return the first query images and the supports, for notebooks."""
        supports = (
            (f"way {way}, class {number}", outlined(photo.image, None))
            for way, (number, photos) in enumerate(zip(self.classes, self.supports, strict=True), start=1)
            for photo in photos
        )
        queries = [
            (f"query {place}", outlined(photo.image, None))
            for place, photo in enumerate(self.queries[:MOST_QUERIES], start=1)
        ]
        title = f"episode {self.number}: the way of each of {len(self.queries)} query images, 1 to {len(self.classes)}"
        return tiles_html(title, queries, supports, sum(map(len, self.supports)))


@dataclass(frozen=True)
class Test:
    """Episodes of a data set, and the protocol by which images are resized and predictions are scored.

    `len(test)` is the number of episodes, `test[i]` the i-th episode without its ground truth, and `test.truth(number)`
    the ground truth alone. Runs, validations, Python functions and files of masks are all evaluated through it.

    Attributes:
        manifest: the list of episodes.
        data: the data set, in the form that `protocol.draw.data` returns.
        protocol: the rules by which episodes are drawn and predictions are scored.
        image_size: side in pixels of the method's images, which is the size of predictions if the protocol counts
            pixels at that size; else None.
        opened: {name: value} of a run's options that make the same test; empty if they are unknown.

    Examples:
        >>> import fsbench
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> test
        demo fold 0 · 1-way 1-shot · protocol pfenet v1 · 5 episodes · derived lists · 31781d064140…
        >>> [episode.number for episode in test]
        [0, 1, 2, 3, 4]
    """

    __test__ = False  # no test of pytest's

    manifest: Manifest
    data: Any
    protocol: Protocol
    image_size: int | None = None
    opened: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        side = self.image_size
        if side is not None and not (isinstance(side, int) and side > 0):
            raise SettingsError(f"image_size is {side!r}, expected a number of pixels above 0")

    def __len__(self) -> int:
        return len(self.manifest.episodes)

    def __iter__(self) -> Iterator[VisibleEpisode | VisibleImages]:
        return (self._visible(episode) for episode in self.manifest.episodes)

    def __getitem__(self, place: int) -> VisibleEpisode | VisibleImages:
        return self._visible(self.manifest.episodes[place])

    def __repr__(self) -> str:
        header = self.manifest.header
        drawn = f" · {header.draws} draws of the supports" if header.draws > 1 else ""
        fold = "" if header.kind else f" fold {header.fold}"
        return (
            f"{header.dataset}{fold} · {header.way}-way {header.shot}-shot · {header.rules} · "
            f"{len(self)} episodes{drawn} · {header.lists} lists · {self.manifest.sha256[:12]}…"
        )

    def _repr_html_(self) -> str:
        """Return the test in a line and its first episode, for notebooks."""
        return f"<div>{escape(repr(self))}</div>" + (self[0]._repr_html_() if len(self) else "")

    @property
    def words(self) -> tuple[str, ...]:
        """Words of the names of this test's folders, such as ("pascal", "hsnet", "fold0", "1way1shot-original")."""
        header = self.manifest.header
        drawn = f"-{header.draws}draws" if header.draws > 1 else ""
        if header.kind is not None:
            return header.dataset, header.protocol, f"{header.way}way{header.shot}shot{drawn}"
        task = f"{header.way}way{header.shot}shot-{header.setting.replace('_', '-')}{drawn}"
        return header.dataset, header.protocol, f"fold{header.fold}", task

    @cached_property
    def places(self) -> dict[int, int]:
        """{episode number: position of the episode in the manifest}."""
        return {episode.number: place for place, episode in enumerate(self.manifest.episodes)}

    def part(self, batch: Any) -> tuple[Any, list[Any]]:
        """Split a batch into the method's input and one ground truth for each episode.

        Args:
            batch: a batch of a data module's loader, or a list of episode numbers.
        """
        if isinstance(batch, list) and all(isinstance(number, int) for number in batch):
            return [self[self.places[number]] for number in batch], [self.truth(number) for number in batch]
        return self.protocol.part(batch)

    def numbers(self, batch: Any) -> list[int]:
        """Return the episode numbers of a loader's batch."""
        return self.protocol.numbers(batch)

    def count(self, answer: Any, truth: Any) -> Any:
        """Count an answer against the ground truth of its episode, by the protocol's rule, and return the result."""
        return self.protocol.count(answer, truth)

    @property
    def identity(self) -> dict[str, Any]:
        """{name: value} of what identifies the test in a run's record: fold, and hashes of episodes and data files."""
        entries = {
            "fold": self.manifest.header.fold,
            "manifest_sha256": self.manifest.sha256,
            "files_sha256": self.files_sha256,
            "all_files_sha256": self.all_files_sha256,
            "painting": self.data.painting,
            "own_list": self.manifest.header.own_list or None,
        }
        return {name: value for name, value in entries.items() if name == "fold" or value is not None}

    @property
    def novel_names(self) -> list[str]:
        """Names of the classes that a training must not have seen."""
        names = self.data.class_names
        return [names[number - 1] for number in self.protocol.draw.novel_classes(self.manifest.header)]

    def check_unseen(self, trained_on: Mapping[str, Any], what: str) -> None:
        """Raise SettingsError if weights were trained on novel classes of this test; in classification all may be.

        Args:
            trained_on: {name: value} of the training: data set, fold, protocol and class names.
            what: words for the weights, for the message.
        """
        if not self.protocol.has_masks or trained_on["dataset"] not in (self.data.name, *self.data.same_classes_as):
            return
        if seen := [name for name in self.novel_names if name in trained_on["classes"]]:
            raise SettingsError(
                f"{what} was trained on fold {trained_on['fold']} of {trained_on['dataset']}, whose base classes "
                f"include {', '.join(seen[:3])}: novel classes of fold {self.manifest.header.fold}; give the "
                "checkpoint of this fold"
            )

    @cached_property
    def files_sha256(self) -> str:
        """Hash of the contents of all files that the episodes read; it changes if a file changes."""
        if isinstance(self.data, ClassificationData):
            return fingerprint([self.data.sha256, content_digests(self.files)])
        return contents_sha256(self.data, self.manifest.image_names)

    @cached_property
    def remarks(self) -> list[str]:
        """Notes on the data for readers of scores: copies of images, groups, and lists of folds that cannot be made."""
        grouped = group_remarks(self.data, self.manifest.episodes)
        if isinstance(self.data, ClassificationData):
            return copy_remarks(self.data, chain.from_iterable(self.data.images)) + grouped
        remarks = copy_remarks(self.data, self.manifest.image_names) + grouped
        if self._tested_images is None and self.manifest.header.folds > 1:
            remarks.append(remark("lists_of_folds_lacking", "lists of images of all folds"))
        return remarks

    @property
    def files_state(self) -> str:
        """Hash of the sizes and times of the test's files, which are not read; for continuing interrupted work."""
        return states_sha256(self.files)

    @property
    def files(self) -> list[Path]:
        """Paths of the image and label files of the episodes; in classification all images of the data set."""
        if isinstance(self.data, ClassificationData):
            return [self.data.image_path(name) for of_class in self.data.images for name in of_class]
        return [*self._files_of(self.manifest.image_names), *self.data.further_files]

    @cached_property
    def all_files_sha256(self) -> str:
        """Hash of the files of all folds; scores of several folds are averaged only if their runs have the same hash.

        If the lists of other folds cannot be made from the local data, only the files of this test's episodes are
        hashed, and `remarks` say so.
        """
        if isinstance(self.data, ClassificationData):
            return self.files_sha256
        names = self.manifest.image_names if self._tested_images is None else self._tested_images
        return fingerprint(image_digests(self.data, sorted(names)))

    @cached_property
    def _tested_images(self) -> frozenset[str] | None:
        """Images that the tests of all folds take; None if a list of them cannot be made of the data here."""
        try:
            return frozenset(self.protocol.draw.tested_images(self.data, self.manifest.header.setting))
        except FsbenchError:
            return None

    def _files_of(self, names: Sequence[str]) -> list[Path]:
        """Return the images of these names, then the files of their label maps."""
        return [*map(self.data.image_path, names), *map(self.data.label_file, names)]

    def truth(self, number: int) -> Any:
        """Return the ground truth of episode `number`, from the query's label map.

        Raises:
            SettingsError: pixels are counted at the method's input size, and the test has no `image_size`.
            DataError: the label map cannot be read.
        """
        view = self.protocol.view
        if self.image_size is None and view.counts_at_input_size:
            raise SettingsError(
                f"the protocol {self.protocol.name} counts pixels at the size of the method's input, which the test "
                "does not state; expected image_size, the side of answers in pixels"
            )
        episode = self.manifest.episodes[self.places[number]]
        if not self.protocol.has_masks:
            return self._classified.truth(episode)
        return view.episode_truth(self.data, episode, self.image_size or 0)

    @property
    def _classified(self) -> ImageCounting:
        """The counting of a test of classification."""
        assert isinstance(self.protocol.counting, ImageCounting)
        return self.protocol.counting

    def _visible(self, episode: Episode | ClassificationEpisode) -> VisibleEpisode | VisibleImages:
        """Return an episode of this data set, which need be none of the manifest's, as whoever answers sees it."""
        if isinstance(episode, ClassificationEpisode):
            return self._visible_images(episode)
        supports = tuple(
            tuple(self._support(name, number) for name in names)
            for number, names in zip(episode.classes, episode.supports, strict=True)
        )
        return VisibleEpisode(
            number=episode.number,
            query_name=episode.query,
            query_file=Path(self.data.image_path(episode.query)),
            classes=episode.classes,
            supports=supports,
            answer_size=partial(self.protocol.view.answer_size, image_size=self.image_size),
            _query=self._pixels(episode.query),
            test=self.manifest.sha256,
        )

    def _support(self, name: str, number: int) -> VisibleSupport:
        data, box_of = self.data, self.protocol.draw.box_of(self.data)
        box = None
        if box_of is not None:
            box = box_of(name, number, data.label_map(name) == data.label_values(name, [number])[0])

        def mask() -> np.ndarray:
            return way_labels(data.label_map(name), data.label_values(name, [number]))

        return VisibleSupport(name, Path(data.image_path(name)), number, box, self._pixels(name), mask)

    def _pixels(self, name: str) -> Callable[[], np.ndarray]:
        """Return a function that decodes an image, and takes no name of another."""
        data = self.data
        return lambda: image_pixels(data, name)

    def image_names(self, number: int) -> tuple[list[list[str]], list[str]]:
        """Return the image names of a classification episode: supports by class, and queries in the order shown.

        The names must not be shown to a method, as they often contain the class.
        """
        episode: Any = self.manifest.episodes[self.places[number]]
        names = [self.data.images[number] for number in episode.classes]
        supports = [[own[place] for place in places] for own, places in zip(names, episode.support, strict=True)]
        queries = [own[place] for own, places in zip(names, episode.query, strict=True) for place in places]
        return supports, [queries[place] for place in self._classified.query_order(episode)]

    def _visible_images(self, episode: ClassificationEpisode) -> VisibleImages:
        supports, queries = self.image_names(episode.number)
        return VisibleImages(
            episode.number,
            tuple(number + 1 for number in episode.classes),
            tuple(tuple(map(self._photo, way)) for way in supports),
            tuple(map(self._photo, queries)),
            self.manifest.sha256,
        )

    def _photo(self, name: str) -> Photo:
        data = self.data
        return Photo(lambda: image_pixels(data, name))


def check_test(test: Any) -> None:
    """Raise SettingsError if `test` is not a `Test`."""
    if not isinstance(test, Test):
        raise SettingsError(
            f"the test is a {type(test).__name__}; expected what fsbench.load_test returns, such as load_test('demo')"
        )
