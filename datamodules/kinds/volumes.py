"""A folder of prepared volumes, whose images are the slices: `image_<id>.nii.gz`, `label_<id>.nii.gz` (alpnet.md §2).

Beside them are `superpix-MIDDLE_<id>.nii.gz` and `classmap_1.json`, the slices that show each class.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import read_json
from fsbench.data.dataset import Part
from fsbench.data.disk_cache import load_json, save_json
from fsbench.data.file_digests import content_digests, file_state
from fsbench.data.file_rules import refusal, remark
from fsbench.data.list_substitutes import print_once
from fsbench.data.source import Archive, ByHand
from fsbench.data.volume_io import load_volume, read_volume, value_range, volume_geometry, volume_rule
from fsbench.data.volumes import SIDE, FoldScans, VolumeData, fold_scans, scan_of, slice_name, slice_number
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.find_folder import find_folder
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import discard, has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import Place, unpack
from fsbench.datamodules.prepare.volumes import Prepare, RawScan, numbered, slices_with, write_scans

CLASS_SLICES = "classmap_1.json"
KIND = "intensities-2"
"""Kind of the cached moments of volumes, to be changed with what they are of."""
IMAGE, LABEL, SUPERPIXELS = "image", "label", "superpix-MIDDLE"
"""Kinds of volumes, which their files' names begin with."""
FOLDS = 5
"""Folds of scans; each is one for either group of organs."""


class Volumes(VolumeData):
    """A data set of prepared scans; fold f tests the organs of group f // 5 in the scans of the authors' fold f % 5.

    A slice is cut to its first 256 rows and columns, since files of CT have 257, unless `whole_scans` was asked for.
    Larger slices are refused, smaller ones taken unchanged.

    Attributes:
        groups: groups of class numbers (organs); a fold tests one group, and other groups may be seen in training.
        starts: positions, among the scans by ascending id, where each of the authors' folds begins, then where the last
            fold ends.
        published_scans: ids of the scans of the complete data, in numeric order.
        scaled_by: what normalises intensities: the slice's own "scan", or all "training scans" of the fold.
        inner: paths below the root where the folder of prepared scans may be.
        label_codes: {value that a label file may have: the number of its class}, for labels that are no class numbers.
    """

    classes_of_fold: ClassVar[int | None] = 2
    has_published_protocol = True
    groups: ClassVar[tuple[tuple[int, ...], ...]]
    starts: ClassVar[tuple[int, ...]]
    published_scans: ClassVar[tuple[str, ...]]
    scaled_by: str = "scan"
    inner: ClassVar[tuple[str, ...]] = ()
    label_codes: ClassVar[Mapping[int, int]] = {}

    def __init__(self, root: str):
        given = Path(root).expanduser()
        found = self._prepared(given)
        if found is None:
            named = f", which without that file is to be named {self.inner[0]}" if self.label_codes else ""
            raise self.source.missing(f"{root} has no {CLASS_SLICES}; expected a folder of prepared volumes{named}")
        self.root = found
        self.folds = FOLDS * len(self.groups)
        self._training: tuple[str, ...] | None = None
        self._side: int | None = SIDE
        self._known_moments: dict[str, Moments] = {}

    @classmethod
    def _prepared(cls, root: Path) -> Path | None:
        """Return the folder of prepared scans, `root` or one below it; None if there is none.

        One without `classmap_1.json` serves where labels are codes, if it has the published name: the programs that
        read these have no such file, and scans that were not prepared have files of the same names.
        """
        found = find_folder(root, cls.inner, (CLASS_SLICES,))
        if found is None and cls.label_codes:
            named = [one for one in (root, *(root / inner for inner in cls.inner)) if one.name == cls.inner[0]]
            found = next((one for one in named if any(one.glob(f"{IMAGE}_*.nii.gz"))), None)
        return found

    # Scans and folds

    @cached_property
    def scans(self) -> tuple[str, ...]:
        """Ids of the scans, in numeric order; DataError where there is none, or one lacks its image or its labels."""
        images, labels, _ = (self._ids(kind) for kind in (IMAGE, LABEL, SUPERPIXELS))
        if not images or images != labels:
            raise self.source.missing(
                f"{self.root} has {len(images)} files image_<id>.nii.gz and {len(labels)} files label_<id>.nii.gz; "
                "expected both of each scan"
            )
        return tuple(sorted(images, key=int))

    def _ids(self, kind: str) -> set[str]:
        """Return the ids of the scans with a file of a kind; two of one scan, in whatever format, are refused."""
        files: dict[int, str] = {}
        for name in sorted(path.name for path in self.root.glob(f"{kind}_*")):
            found = re.fullmatch(rf"{kind}_([0-9]+)\.(nii|nii\.gz|img|mha|mhd|nrrd)", name, re.IGNORECASE)
            if found and (first := files.setdefault(int(found[1]), name)) != name:
                raise refusal("volume_twice", self.root, first=first, second=name)
        whole = (name.removeprefix(f"{kind}_").removesuffix(".nii.gz") for name in files.values())
        return {scan for scan in whole if scan.isdecimal()}

    def slices(self, scan: str) -> Sequence[str]:
        file = self._file(IMAGE, scan)
        return [slice_name(scan, z) for z in range(_checked(volume_geometry(file).shape, file)[0])]

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(self.groups[fold // FOLDS])

    def fold_scans(
        self, fold: int, shot: int, support_places: Sequence[int] | None = None, in_list_order: bool = False
    ) -> FoldScans:
        self.check_fold(fold)
        own = fold % FOLDS
        least = self.starts[own + 1] - self.starts[own] + shot
        if len(self.scans) < least:
            raise DataError(
                f"{self.root} has {len(self.scans)} scans, expected the {least} of a fold and its supports, or more; "
                "add scans"
            )
        return fold_scans(self.scans, self.starts, own, shot, support_places, in_list_order)

    def in_fold(self, fold: int, shot: int) -> Self:
        bound, scans = copy(self), self.fold_scans(fold, shot)
        bound._training = scans.training
        for note, _ in self._grid_notes(LABEL, (*scans.queries, *scans.supports)):
            print_once(note)
        return bound

    @property
    def training_scans(self) -> tuple[str, ...]:
        if self._training is None:
            raise SettingsError(
                f"intensities of {self.name} are normalised by the training scans of a fold, which is not known here; "
                "expected the data set of a test, see SegmentationData.in_fold"
            )
        return self._training

    def whole_scans(self) -> Self:
        whole = copy(self)
        whole.scaled_by, whole._side = "scan", None
        return whole

    @cached_property
    def class_slices(self) -> Mapping[int, Mapping[str, Sequence[int]]]:
        """{class number: {scan: positions z of the slices that show it}}, from `classmap_1.json` or from the labels."""
        file = self.root / CLASS_SLICES
        if not file.is_file():
            shown = {scan: self._shown(scan) for scan in self.scans}
            return {number: {scan: of[number] for scan, of in shown.items()} for number in self._class_numbers}
        try:
            content = read_json(file, "list")
            found = {
                self.class_names.index(name) + 1: {str(scan): tuple(map(int, places)) for scan, places in of.items()}
                for name, of in content.items()
                if name in self.class_names
            }
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} cannot be read ({error}); expected {{class: {{scan: [slices]}}}}; prepare the data again"
            ) from error
        absent = [name for number, name in enumerate(self.class_names, 1) if number not in found]
        if absent:
            raise DataError(f"{file} lacks the class {absent[0]}; expected all of them; prepare the data again")
        return found

    @property
    def _class_numbers(self) -> range:
        return range(1, len(self.class_names) + 1)

    def _shown(self, scan: str) -> dict[int, tuple[int, ...]]:
        labels = self._volume(LABEL, scan)
        return {number: tuple(slices_with(labels, number)) for number in self._class_numbers}

    def candidates(self, part: Part) -> Sequence[str]:
        if part != "val":
            raise SettingsError(
                f"{self.name} has scans that are for training in one fold and for the test in another, and no part "
                f"{part}; choose the protocol alpnet, or test a method that is not trained"
            )
        return [name for scan in self.scans for name in self.slices(scan)]

    # Slices

    def image_path(self, name: str) -> Path:
        return self._file(IMAGE, scan_of(name))

    def label_file(self, name: str) -> Path:
        return self._file(LABEL, scan_of(name))

    def label_map(self, name: str) -> np.ndarray:
        return self._slice_numbers(LABEL, name, np.uint8)

    def _slice_numbers(self, kind: str, name: str, dtype: type[np.integer]) -> np.ndarray:
        values = self._slice(kind, name)
        self._check_numbers(values, kind, scan_of(name), f" in slice {slice_number(name)}")
        return np.ascontiguousarray(values.astype(dtype))

    def pixels(self, name: str) -> np.ndarray:
        """Return slice `name` (H, W, 3) uint8 grey, scaled from its volume's smallest value to its largest."""
        low, high = value_range(self.image_path(name))
        grey = np.rint((self._slice(IMAGE, name) - low) * (255 / ((high - low) or 1))).astype(np.uint8)
        return np.repeat(grey[..., None], 3, 2)

    def intensities(self, name: str) -> np.ndarray:
        mean, deviation = self.scale(scan_of(name))
        if not deviation:
            raise DataError(f"{self.image_path(name)} has one value alone; expected a scan; make it again")
        return (self._slice(IMAGE, name).astype(np.float32) - np.float32(mean)) / np.float32(deviation)

    @property
    def has_intensities(self) -> bool:
        return self.scaled_by == "scan" or bool(self._training)

    def prepare_intensities(self) -> None:
        if self.scaled_by != "scan":
            self.scale(self.scans[0])

    @property
    def further_files(self) -> Sequence[Path]:
        scans = () if self.scaled_by == "scan" else self._training or ()
        return [self._file(IMAGE, scan) for scan in scans]

    def superpixels(self, name: str) -> np.ndarray:
        return self._slice_numbers(SUPERPIXELS, name, np.int32)

    def superpixel_file(self, name: str) -> Path:
        return self._file(SUPERPIXELS, scan_of(name))

    def prepare_superpixels(self, names: Sequence[str]) -> None:
        for note, _ in self._grid_notes(SUPERPIXELS, dict.fromkeys(map(scan_of, names))):
            print_once(note)

    def scale(self, scan: str) -> tuple[float, float]:
        """Return the mean and the population standard deviation by which the slices of a scan are normalised."""
        if self.scaled_by == "scan":
            return pooled_moments([self._moments(scan)])
        if not self.training_scans:
            raise DataError(
                f"{self.root} has no scan beside those of the fold, expected some to normalise by; add scans"
            )
        return pooled_moments([self._moments(other) for other in self.training_scans])

    def _slice(self, kind: str, name: str) -> np.ndarray:
        file, z = self._file(kind, scan_of(name)), slice_number(name)
        values = self._stored(kind, scan_of(name))
        if not 0 <= z < _checked(values.shape, file)[0]:
            raise DataError(f"{file} has {len(values)} slices, expected the slice {z}; get or make it again")
        return self._numbered(kind, values[z, : self._side, : self._side])

    def _volume(self, kind: str, scan: str) -> np.ndarray:
        """Return a volume (Z, H, W) on the grid of its scan's image."""
        return self._numbered(kind, self._stored(kind, scan))

    def _stored(self, kind: str, scan: str) -> np.ndarray:
        return read_volume(self._file(kind, scan), None if kind == IMAGE else self._file(IMAGE, scan))

    def _numbered(self, kind: str, values: np.ndarray) -> np.ndarray:
        return numbered(values, self.label_codes) if kind == LABEL and self.label_codes else values

    def _grid_notes(self, kind: str, scans: Iterable[str]) -> Iterator[tuple[str, bool]]:
        """Yield what is to be said of volumes that are not on their images' grid, and whether they are resampled.

        Labels that are moved must be of the slices that their list says.
        """
        found: dict[str, list[str]] = {}
        for scan in scans:
            file = self._file(kind, scan)
            if rule := volume_rule(file, self._file(IMAGE, scan)):
                found.setdefault(rule, []).append(file.name)
                if kind == LABEL and rule != "volume_without_geometry":
                    self._check_class_slices(scan)
        for rule, names in found.items():
            yield remark(rule, f"{self.root}, {some(names, 3)}:"), rule == "volume_on_another_grid"

    def _check_numbers(self, values: np.ndarray, kind: str, scan: str, place: str = "") -> None:
        most = len(self.class_names) if kind == LABEL else np.iinfo(np.int32).max - 1
        strange = (values < 0) | (values > most)
        if values.dtype.kind == "f":
            strange |= values != np.rint(values)
        if strange.any():
            meaning = f"{'a class' if kind == LABEL else 'a superpixel'} from 0 to {most}"
            raise refusal(
                "volume_value", self._file(kind, scan), value=values[strange][0], place=place, meaning=meaning
            )

    def _moments(self, scan: str) -> "Moments":
        if scan not in self._known_moments:
            file = self._file(IMAGE, scan)
            state, (digest,) = file_state(file), content_digests([file])
            match load_json(KIND, digest):
                case {"number": int(number), "mean": float(mean), "squares": float(squares)} if (
                    number > 0 and isfinite(mean) and 0 <= squares < inf
                ):
                    found = Moments(number, mean, squares)
                case _:
                    found = moments(load_volume(file))
                    if file_state(file) == state:  # else the digest may be of what was there before
                        save_json(KIND, digest, found._asdict())
            self._known_moments[scan] = found
        return self._known_moments[scan]

    def _file(self, kind: str, scan: str) -> Path:
        return self.root / f"{kind}_{scan}.nii.gz"

    # Preparing and checking

    @classmethod
    def prepare_scans(
        cls,
        job: Job,
        archive: Archive | ByHand,
        place: Place,
        scans: Callable[[Path], Sequence[RawScan]],
        prepare: Prepare,
        threshold: float,
    ) -> list[str]:
        """Unpack an archive of scans and preprocess them into `<root>/<inner[0]>`; return remarks.

        Args:
            job: the preparation.
            archive: the archive of the published scans.
            place: function from a file of the archive to its path in a temporary folder, or None to leave the file out.
            scans: function from the temporary folder to the scans in it, in the order of their ids.
            prepare: function from the image and labels of a scan to the prepared image and labels.
            threshold: value of the prepared image above which a pixel may be of the patient.
        """
        if cls._is_made(job):
            return []
        file = find_archive(job, archive, cls.source) if isinstance(archive, ByHand) else job.obtain(archive)
        with making_place(job.root / "scans") as raw:
            unpack(file, raw, place)
            found = scans(raw) if raw.is_dir() else []
            complete, most = len(found) == len(cls.published_scans), str(len(cls.published_scans))
            job.require_complete(file, complete, len(found) > 0, f"{len(found)} scans", most)
            if isinstance(archive, ByHand):
                job.note(file, None, verified=False)
            cls._write(job, found, prepare, threshold)
        return [] if isinstance(archive, Archive) and archive.digest else [unpublished(file.name)]

    @classmethod
    def prepare_files(cls, job: Job, found: Sequence[RawScan], prepare: Prepare, threshold: float) -> list[str]:
        """Preprocess scans that the user has as files, as `prepare_scans` does; return remarks."""
        if cls._is_made(job):
            return []
        place = job.source or job.root
        if not found:
            raise cls.source.missing(f"no scan of {cls.name} with its labels in {place}")
        ids = [raw.scan for raw in found]
        absent = [scan for scan in cls.published_scans if scan not in ids]
        other = [scan for scan in ids if scan not in cls.published_scans]
        words = f"{len(found)} scans with labels"
        words += f", without {some(absent, 3)}" if absent else ""
        words += f", with {some(other, 3)}" if other else ""
        job.require_complete(place, not absent and not other, True, words, f"{len(cls.published_scans)}")
        cls._write(job, found, prepare, threshold)
        return [f"nobody publishes a checksum of the scans of {cls.name}: they are taken as they are"]

    @classmethod
    def _is_made(cls, job: Job) -> bool:
        return has_content(job.root / cls.inner[0]) or cls._prepared(job.root) is not None

    @classmethod
    def _write(cls, job: Job, found: Sequence[RawScan], prepare: Prepare, threshold: float) -> None:
        target, scans = job.root / cls.inner[0], [raw.scan for raw in found]
        if twice := next((raw for raw in found if scans.count(raw.scan) > 1), None):
            raise DataError(f"{twice.path} has the number {twice.scan} of another scan; expected one; take one away")
        with making_place(target) as making:
            discard(making)  # of a process that ended amid them, which may have had other scans
            write_scans(making, found, prepare, threshold, cls.class_names)
            publish(making, target)

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        data = report.attempt("folder", lambda: cls(str(root)))
        scans = report.attempt("volumes", lambda: data.scans) if data else None
        if data is None or scans is None:
            return
        report.ok("folder", str(data.root))
        report.count("volumes", len(scans), len(data.published_scans), "scans")
        for scan in scans:
            report.attempt(f"scan {scan}", lambda scan=scan: data._check_scan(scan))  # type: ignore[misc]
        if not report.usable:
            return
        for kind in data._kinds[1:]:
            for note, resampled in data._grid_notes(kind, scans):
                (report.differs if resampled else report.ok)("geometry", note)
        sides = sorted({side for scan in scans for side in volume_geometry(data._file(IMAGE, scan)).shape[1:]})
        if sides[0] < SIDE:
            report.differs("slices", f"sides from {sides[0]} pixels on; the official data have {SIDE}")
        if SUPERPIXELS not in data._kinds:
            report.differs("superpixels", "none: methods can be tested, but not trained on superpixels")
        beside = ", superpixels beside them" * (SUPERPIXELS in data._kinds)
        report.ok("label maps", f"on the grid of their images, of known classes{beside}")

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """Kinds of files that each scan must have; superpixels are optional in a folder with codes for labels."""
        optional = self.label_codes and not self._ids(SUPERPIXELS)
        return (IMAGE, LABEL) if optional else (IMAGE, LABEL, SUPERPIXELS)

    def _check_scan(self, scan: str) -> None:
        for kind in self._kinds:
            values = self._volume(kind, scan)
            _checked(values.shape, self._file(kind, scan))
            if kind != IMAGE:
                self._check_numbers(values, kind, scan)
        self._check_class_slices(scan)

    def _check_class_slices(self, scan: str) -> None:
        for number, found in self._shown(scan).items():
            if list(found) != list(self.class_slices[number].get(scan, ())):
                raise DataError(
                    f"{self.root / CLASS_SLICES} says that the scan {scan} shows {self.name_of(number)} in other "
                    "slices than its labels do; expected the same; prepare the data again"
                )


def _checked(shape: tuple[int, ...], file: Path) -> tuple[int, ...]:
    if max(shape[1:]) > SIDE + 1:
        raise DataError(
            f"{file} has slices of {shape[1]} x {shape[2]} pixels; expected {SIDE} x {SIDE}, or {SIDE + 1} x "
            f"{SIDE + 1} as of CT; prepare the scans (fsbench data prepare), or resample them"
        )
    return shape


class Moments(NamedTuple):
    """Number, mean and summed squared deviations of a volume's voxels, from which those of several volumes follow."""

    number: int
    mean: float
    squares: float


def moments(values: np.ndarray) -> Moments:
    """Return the moments of a volume (Z, H, W).

    Values are taken as float32, as published programs read them, and summed in float64. The resulting standard
    deviation has a relative error of at most 1e-7 if it is a thousandth of the mean or more, as in any scan.
    """
    single = values.astype(np.float32)
    mean = float(single.mean(dtype=np.float64))
    return Moments(single.size, mean, float(np.square(single - mean, dtype=np.float64).sum()))


def pooled_moments(volumes: Sequence[Moments]) -> tuple[float, float]:
    """Return mean and population standard deviation of all voxels of several volumes."""
    number = sum(one.number for one in volumes)
    mean = sum(one.number * one.mean for one in volumes) / number
    squares = sum(one.squares + one.number * (one.mean - mean) ** 2 for one in volumes)
    return mean, float(np.sqrt(squares / number))
