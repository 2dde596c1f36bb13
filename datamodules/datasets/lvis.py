"""LVIS-92i: ten folds of the categories of LVIS's validation part (incontext-protocol §3.3)."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, read_json
from fsbench.data.dataset import PairList
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Classes, Task
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.coco_views import PHOTOS_2017, CocoViews
from fsbench.datamodules.kinds.find_folder import require_folder
from fsbench.datamodules.kinds.view_episodes import ViewEpisodes
from fsbench.datamodules.kinds.views import SEPARATOR, AnnotatedMask, listed_views, view_photo
from fsbench.datamodules.lists.plain_pickle import read_annotation_pickle
from fsbench.datamodules.prepare.by_hand import bring_file
from fsbench.datamodules.prepare.job import Job
from fsbench.protocols.conditions import CLASS_CYCLE
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, every_tenth
from fsbench.protocols.draws.presence import KnownAbsence
from fsbench.protocols.draws.segic import ProgramEpisodes, draw_lvis, lvis_fold, process_streams
from fsbench.protocols.episode_rules.pools import Pool

FILE = "lvis_val.pkl"
_FORM = "a pickle of {category id: {image name: {'annotations': [{'segmentation'}, …]}}}"
OWN_FILE = "lvis_v1_val.json"
_OWN_FORM = (
    "LVIS's own file: {'images': [{'id', 'coco_url', 'neg_category_ids', 'not_exhaustive_category_ids'}, …], "
    "'categories': [{'id', 'name'}, …], 'annotations': [{'id', 'image_id', 'category_id', 'segmentation'}, …]}"
)
_OBJECT_KEYS = ("id", "image_id", "category_id", "segmentation")
_SAMPLE = 60
"""Episodes of each fold that a check draws where no released log tells how many there are."""


class Verified(NamedTuple):
    """For an LVIS photo, the ids of categories that it surely lacks, and of those annotated in it incompletely.

    Whether the photo shows a category that is in neither set and has no annotation is unknown.
    """

    absent: frozenset[int] = frozenset()
    not_exhaustive: frozenset[int] = frozenset()


class OwnFile(NamedTuple):
    """Content of LVIS's own annotation file; without objects, if they were not read.

    Attributes:
        verified: {photo name `val2017/….jpg`: what annotators checked in it}.
        names: {category id: name}, ascending.
        categories: {category id: {photo: {'annotations': its objects of the category}}}, in the order of `names`.
    """

    verified: dict[str, Verified]
    names: dict[int, str]
    categories: dict[int, dict[str, dict[str, list[dict[str, Any]]]]]


class Lvis(CocoViews):
    """LVIS-92i: image names are `val2017/<photo>.jpg@<category id>`; a class number is a category's place in the file.

    Fold f of a K-shot test holds the categories f, f + 10, … among those with more than K images, in the order of the
    file. So tests with different K are about different classes.

    The episodes of published tests follow from the list of Matcher's authors alone. Without it, categories (ascending
    ids) and photos (in the file's order) are those of LVIS's own file.

    Args:
        root: Folder with `lvis_val.pkl` as Matcher's authors distribute it or LVIS's own `lvis_v1_val.json`, or both,
            and COCO's photos in `coco/val2017` and `coco/train2017`; names in the file say which a photo is in.

    Attributes:
        file: name of the annotation file in `root` that categories and photos are read from.
    """

    name = "lvis"
    folds = 10
    logged_classes: ClassVar[Mapping[int, tuple[int, ...]]] = {1: (92,) * 10, 5: (68,) * 10}
    logged_episodes = (2300,) * 10
    source = Source(
        archives=PHOTOS_2017,
        dataset="lvis",
        page="https://github.com/aim-uofa/Matcher",
        by_hand=(
            ByHand("the authors' list", (FILE,)),
            ByHand("LVIS's own annotations", (f"{OWN_FILE}.zip",), "https://www.lvisdataset.org/dataset"),
        ),
        holds=(FILE, OWN_FILE, "coco/val2017/", "coco/train2017/"),
        notes=(f"--protocol presence needs {OWN_FILE}, and does without {FILE}; all other tests need {FILE} alone",),
    )

    def __init__(self, root: str):
        super().__init__(root)
        self.file = next((name for name in (FILE, OWN_FILE) if (self.root / name).exists()), FILE)
        expected = (
            f"{FILE} and the photos coco/{{train,val}}2017, or for --protocol presence alone {OWN_FILE} and these"
        )
        require_folder(self.source, self.root, (), (self.file, "coco"), expected)

    def require_list(self) -> None:
        if self.file != FILE:
            raise self.source.missing(
                f"{self.root} has {self.file} and no {FILE}, whose order decides the episodes of the published tests; "
                f"expected {FILE}; --protocol presence does without"
            )

    @cached_property
    def _own(self) -> OwnFile:
        return read_own_file(self.root / OWN_FILE, objects=self.file == OWN_FILE)

    @cached_property
    def categories(self) -> Mapping[int, Mapping[str, Any]]:
        """{category id: {image name: annotations}}, in the order of the file."""
        if self.file == OWN_FILE:
            substitute_list(self, "val", FILE, f"the categories of {OWN_FILE}, by ascending id")
            return self._own.categories
        content = read_annotation_pickle(self.root / FILE, _FORM)
        with self._reading():
            for key, images in content.items():
                if type(key) is not int or not isinstance(images, Mapping):
                    raise ValueError(f"its entry {reprlib.repr(key)} is no category with images")
                if images and not isinstance(next(iter(images.values()))["annotations"], list):
                    raise ValueError(f"category {key} has images without annotations")
        return dict(content)

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the categories; "category <id>" if only the authors' list is there, which has no names."""
        names = self._own.names if self.file == OWN_FILE else {}
        return tuple(names.get(key, f"category {key}") for key in self.categories)

    @cached_property
    def _ids(self) -> tuple[int, ...]:
        return tuple(self.categories)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """{category id: class number}."""
        return {key: number for number, key in enumerate(self.categories, start=1)}

    def category(self, number: int) -> int:
        return self._ids[number - 1]

    @cached_property
    def verified(self) -> Mapping[str, Verified]:
        """{photo: categories that annotators checked in it}, from LVIS's own file, which must fit the list."""
        verified = self._own.verified
        for category, images in self.categories.items():
            for photo in images:
                if photo in verified and category in verified[photo].absent:
                    raise self.source.missing(
                        f"{self.root / OWN_FILE} says that {photo} lacks the category {category}, of which {self.file} "
                        "has objects; expected files of one version of LVIS"
                    )
        return verified

    def frequent_categories(self, shot: int) -> list[int]:
        """Return the ids of the categories with more than `shot` images, in the order of the file."""
        return [key for key, images in self.categories.items() if len(images) > shot]

    def photo_classes(self) -> Iterator[tuple[str, int]]:
        return ((photo, self.numbers[key]) for key in self.frequent_categories(1) for photo in self.categories[key])

    def class_views(self, photo: str, number: int) -> Sequence[str]:
        return [f"{photo}{SEPARATOR}{self.category(number)}"]

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return [self.numbers[key] for key in every_tenth(self.frequent_categories(1), fold, self.folds)]

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.root / self.file]

    def label_file(self, name: str) -> Path:
        return self.root / self.file

    def class_number(self, name: str) -> int:
        return self.numbers[self._category(name)]

    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        with self._reading():
            image = self.categories[self._category(name)][view_photo(name)]
            return [
                AnnotatedMask(f"annotation {annotation.get('id', place)}", annotation["segmentation"])
                for place, annotation in enumerate(image["annotations"])
            ]

    def _category(self, name: str) -> int:
        key = name.rpartition(SEPARATOR)[2]
        if not key.isdecimal() or int(key) not in self.categories:
            raise DataError(f"{name} is no image of {self.root / self.file}; expected <photo>{SEPARATOR}<category id>")
        return int(key)

    def _reading(self) -> AbstractContextManager[None]:
        return self.reading(self.root / self.file, _FORM)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Copy the user's annotation files into the root, and unpack COCO's photos of 2017 there; return remarks."""
        there = [file for file in (FILE, OWN_FILE) if bring_file(job, file)]
        if not there:
            raise cls.source.missing(
                f"no {FILE} and no {OWN_FILE} in {job.root} or the folder of --from; expected one of them"
            )
        remarks = [f"{file}: no checksum is published" for file in there]
        for file, needs in ((OWN_FILE, "--protocol presence needs"), (FILE, "all tests but --protocol presence need")):
            if file not in there:
                remarks.append(f"{file} is not there: {needs} it, in {job.root} or in the folder of --from")
        return [*remarks, *cls.provide_photos(job, there[0])]

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        if is_file(root / FILE):
            super().check(report, root, lists)
            return
        data = cls.check_annotations(report, root)
        if data is None:
            return
        report.differs("tests", f"there is no {FILE}: --protocol presence alone, with episodes of LVIS's own file")
        photos = sorted(data.listed_photos())
        absent = [photo for photo in photos if not is_file(data.image_path(photo))]
        if absent:
            report.problem("photos", f"{len(absent)} of {len(photos)} are missing: {some(absent)}")
        for fold in range(data.folds):
            subject, task = f"fold {fold}", Task(fold, episodes=_SAMPLE, drop_small=True)
            manifest = data.draw_test(report, subject, "presence", task)
            if manifest is not None:
                report.ok(subject, f"{len(manifest.class_ids)} classes")
                data.check_episodes(report, subject, manifest)


@OwnEpisodes.register(Lvis)
class LvisEpisodes(ViewEpisodes):
    data: Lvis

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        data = self.data
        data.check_fold(fold)
        data.require_list()
        keys = every_tenth(data.frequent_categories(shot), fold, data.folds)
        images_of = {data.numbers[k]: [f"{name}{SEPARATOR}{k}" for name in data.categories[k]] for k in keys}
        pool = Pool((), images_of, [*images_of], "by_turns")  # in the order of the file (incontext-protocol §3.3)
        return self.episode_run([*images_of], None, one_stream(CLASS_CYCLE.word, pool, shot=shot, seed=seed))


@ProgramEpisodes.register(Lvis)
class LvisProgramEpisodes(ViewEpisodes, ProgramEpisodes):
    """Episodes of the protocol segic from LVIS's own file, by the authors' 8 processes (segic.md §8.2)."""

    data: Lvis

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        data = self.data
        data.check_fold(fold)
        if shot > 1:
            raise SettingsError(f"shot is {shot}, but SegIC's program shows one support; expected 1")
        if data.file != OWN_FILE:
            raise data.source.missing(
                f"{data.root} has {data.file}, which tells no order of objects; expected {OWN_FILE} in a folder "
                "without it, from which SegIC's program draws; or choose the protocol incontext"
            )
        photos, objects = {}, []
        for category, images in data.categories.items():
            for photo, found in images.items():
                for one in found["annotations"]:
                    photos[one["image_id"]] = photo
                    objects.append((one["image_id"], category))
        drawn_from = lvis_fold(objects, fold)

        def episodes() -> Iterator[Episode]:
            for number, generators in enumerate(process_streams(seed, fold)):
                category, *images = draw_lvis(drawn_from, generators.python)
                query, support = (f"{photos[image]}{SEPARATOR}{category}" for image in images)
                own = data.numbers[category]
                yield Episode(number, query, own, (own,), ((support,),))

        return self.episode_run([data.numbers[key] for key in drawn_from.categories], None, episodes())


@KnownAbsence.register(Lvis)
class LvisAbsence(KnownAbsence):
    """Which categories an LVIS photo surely lacks: annotators checked some; of the others nothing is known."""

    data: Lvis
    words = "the category is among the photo's neg_category_ids, and not among its not_exhaustive_category_ids"

    def own_pairs(self, classes: Classes, fold: int, shot: int) -> PairList:
        data = self.data
        data.check_fold(fold)
        frequent = data.frequent_categories(shot)
        novel = every_tenth(frequent, fold, data.folds)
        keys = novel if classes == "novel" else [key for key in frequent if key not in set(novel)]
        return listed_views(
            (f"{name}{SEPARATOR}{key}", data.numbers[key]) for key in keys for name in data.categories[key]
        )

    def lacking(self, number: int, images_of: Mapping[int, Sequence[str]]) -> Sequence[Sequence[str]]:
        return [self._lacking.get(number, ())]

    def surely_lacks(self, name: str, number: int) -> bool:
        self.data.check_masks(name)
        return self.data.category(number) in self.data.verified.get(view_photo(name), Verified()).absent

    def is_whole(self, name: str, number: int) -> bool:
        self.data.check_masks(name)
        verified = self.data.verified.get(view_photo(name))
        return verified is not None and self.data.category(number) not in verified.not_exhaustive

    @cached_property
    def _lacking(self) -> Mapping[int, Sequence[str]]:
        """Class number -> views of the photos that lack it, each of the first category that its photo shows."""
        data = self.data
        first: dict[str, int] = {}
        for category in data.frequent_categories(1):  # whose photos `fsbench data prepare` brings
            for photo in data.categories[category]:
                first.setdefault(photo, category)
        views: dict[int, list[str]] = {}
        for photo in sorted(first.keys() & data.verified.keys()):
            for category in sorted(data.verified[photo].absent & data.numbers.keys()):
                views.setdefault(data.numbers[category], []).append(f"{photo}{SEPARATOR}{first[photo]}")
        return views


def read_own_file(path: Path, objects: bool) -> OwnFile:
    """Read LVIS's own annotation file, with category names and `objects` (a quarter of a million) if asked for."""
    with Lvis.reading(path, _OWN_FORM):
        content = read_json(path, "annotations", object_hook=_short_object if objects else _without_object)
        verified = {_photo(image): _verified(image) for image in content["images"]}
        if not objects:
            return OwnFile(verified, {}, {})
        photos = {image["id"]: _photo(image) for image in content["images"]}
        names = {int(one["id"]): str(one["name"]) for one in sorted(content["categories"], key=lambda one: one["id"])}
        categories: dict[int, dict[str, dict[str, list[dict[str, Any]]]]] = {key: {} for key in names}
        for one in content["annotations"]:
            images = categories[one["category_id"]]
            images.setdefault(photos[one["image_id"]], {"annotations": []})["annotations"].append(one)
        if not any(categories.values()):
            raise ValueError("it has no objects")
        return OwnFile(verified, names, categories)


def _photo(image: Mapping[str, Any]) -> str:
    """Return a photo's name `val2017/….jpg`; the number of an image does not tell its folder."""
    return "/".join(image["coco_url"].split("/")[-2:])


def _verified(image: Mapping[str, Any]) -> Verified:
    absent, not_exhaustive = (
        frozenset(map(int, image[name])) for name in ("neg_category_ids", "not_exhaustive_category_ids")
    )
    return Verified(absent - not_exhaustive, not_exhaustive)


def _short_object(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in _OBJECT_KEYS} if "segmentation" in entry else entry


def _without_object(entry: dict[str, Any]) -> Any:
    return None if "segmentation" in entry else entry
