"""Generalised few-shot segmentation as DIaM evaluates it: base and novel classes at once on whole images (gfss.md).

Every query of a run is answered with the same N·K supports, drawn once; a test is several runs, whose scores are
averaged. An episode is about all classes: the base ones, which have no support, then the novel ones.
"""

import hashlib
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeVar

from fsbench.data.dataset import DERIVED, VOID, Pair, PairList, SegmentationIndex
from fsbench.episodes.episode import Episode
from fsbench.episodes.header import Header
from fsbench.episodes.manifest import Manifest
from fsbench.episodes.task import EpisodeTask
from fsbench.errors import DataError, SettingsError
from fsbench.metrics.confusion import COUNTS, intersection_union
from fsbench.metrics.count_table import sum_by_class
from fsbench.metrics.scores import COMMON, GENERALISED
from fsbench.protocols.base import OTHERS, Choice, Provider, words_by_dataset
from fsbench.protocols.conditions import NOT_STATED, Conditions, ListsAndDraw
from fsbench.protocols.geometry import QuerySize, Resize
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import TestAlone

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.batch import EpisodeBatch
    from fsbench.data.decoding import DecodedImageCache
    from fsbench.metrics.scores import ScoreStatistics
    from fsbench.protocols.loading import LoadingConfig

Refill = Literal["official", "own_class"]
Name = TypeVar("Name")


class ValidationImages(Provider):
    """The validation images of a data set in the order of its authors' list, which decides the draw of supports."""

    index: SegmentationIndex

    def view(self) -> SegmentationIndex:
        """Return the data set with label maps as the authors have them."""
        return self.index

    def images(self) -> tuple[Sequence[str], str]:
        """Return the names, and the origin of their order (see `PairList`)."""
        return self.index.candidates("val"), DERIVED


class SupportsOfRun(NamedTuple):
    """The supports of a run: for each novel class its K images, and how many images of the list are queries."""

    supports: tuple[tuple[str, ...], ...]
    queries: tuple[str, ...]


def draw_runs(
    queries: Sequence[str],
    candidates: Mapping[int, Sequence[str]],
    shown: Callable[[str], Collection[int]],
    *,
    shot: int,
    runs: int,
    seed: int = 2023,
    only_one_novel: bool = True,
    refill: Refill = "official",
) -> Iterator[SupportsOfRun]:
    """Draw the supports of consecutive runs from one stream of Python's generator (§5).

    Args:
        queries: images that may be queries, in list order.
        candidates: novel class, ascending -> images that may be its supports, in list order.
        shown: image -> classes that its label map shows.
        shot: K.
        runs: their number.
        seed: of the generator before the first run.
        only_one_novel: a support shows no other novel class.
        refill: slots of a class with too few images are filled from all supports so far, which for every class but the
            first are mostly of others, as the authors' program does; or from the class's own.

    Raises:
        DataError: a class has no image that may be its support.
    """
    rng, novel = random.Random(seed), set(candidates)
    for _ in range(runs):
        listed: list[tuple[str, ...]] = []
        so_far: list[str] = []
        for number, images in candidates.items():
            places = list(range(len(images)))
            rng.shuffle(places)
            own: list[str] = []
            for place in places:
                name = images[place]
                if name in own or (only_one_novel and len(novel.intersection(shown(name))) > 1):
                    continue
                own.append(name)
                if len(own) == shot:
                    break
            if not own:
                raise DataError(
                    f"class {number} has no image that may be a support: {len(images)} are large enough, and none of "
                    "them shows it alone; use the complete validation images, or another fold"
                )
            so_far += own
            if len(own) < shot:
                filled = rng.choices(range(len(own)), k=shot - len(own))
                source = so_far if refill == "official" else list(own)
                more = [source[place] for place in filled]
                own, so_far = own + more, so_far + more
            listed.append(tuple(own))
        taken = {name for own in listed for name in own}
        yield SupportsOfRun(tuple(listed), tuple(name for name in queries if name not in taken))


@dataclass(frozen=True)
class GFSS(TestAlone):
    """Base and novel classes at once over the validation images; mean of base and novel mIoU.

    Attributes:
        episodes: by data set, queries of a run, or "all" that are no supports; some are drawn anew for each run.
        runs: number of runs, each with supports of its own.
        support_pixels: by data set, pixels of its class that a support shows at least.
        only_one_novel: a support shows no other novel class.
        refill: what fills the slots of a class with too few images, see `draw_runs`.
        tells_void: methods are told which of a query's pixels are void, as the authors' program tells its own; else
            only where padding is.
    """

    seed: int | None = 2023
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: "all", "coco": 10000})
    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True
    resize: Resize = "padded"
    query_size: QuerySize = "input"
    runs: int = 5
    support_pixels: dict[str, int] = field(default_factory=lambda: {OTHERS: 16 * 32 * 32, "demo": 256})
    only_one_novel: bool = True
    refill: Refill = "official"
    tells_void: bool = True

    metrics: ClassVar[tuple[str, ...]] = (*COMMON, *GENERALISED)
    asks_base_classes: ClassVar[bool] = True
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw("gfss", "16384 support only", "fixed support set")
        for name in ("pascal", "pascal10i", "coco")
    }
    all_episodes: ClassVar[str] = "all images of val"
    without_training: ClassVar[str] = "its base model is trained with METHOD=pspnet and PROTOCOL=pfenet"
    drawing: ClassVar[str] = (
        "for each run once, from one stream of Python's generator: K images of each novel class, which serve all "
        "queries; queries are all other validation images that show a class"
    )

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The mean of base and novel mIoU, and these."""
        return GENERALISED

    # Which episodes are there?

    def official_manifest(self, index: SegmentationIndex, task: EpisodeTask) -> Manifest:
        """Draw the runs of `task`; opens label maps.

        Raises:
            SettingsError: another number of ways than 1, another setting, or classes besides those of the fold.
            DataError: a novel class has no support.
        """
        self.check_task(index, task)
        self.check_novel(task)
        novel, base = sorted(index.test_classes(task.fold)), sorted(index.train_classes(task.fold))
        names, origin = self._images(index)
        index.count_pixels("val", names)
        classes = {*novel, *base}
        pixels = {name: index.class_pixels(name)[0] for name in names}
        queries, candidates = self.candidates(index.name, pixels, classes, novel)
        few = [n for n in novel if not any(self._may_support(pixels[name], novel) for name in candidates[n])]
        if few and task.skip_small_classes:
            novel, candidates = [n for n in novel if n not in few], {n: candidates[n] for n in novel if n not in few}
        if few and (not novel or not task.skip_small_classes):
            raise DataError(
                f"{index.name} fold {task.fold}: no validation image can support "
                f"{', '.join(index.name_of(n) for n in few)}: of {self._least(index.name)} pixels or more"
                f"{', without another novel class' * self.only_one_novel}; use the complete validation images, or "
                "leave these classes out with DROP_SMALL=1 (--drop-small), which the record will say"
            )
        ordered = (*base, *novel)
        queries = [name for name in queries if any(pixels[name].get(number) for number in ordered)]
        seed = self.test_seed(task) or 0
        drawn = draw_runs(
            queries, candidates, pixels.__getitem__, shot=task.shot, runs=self.runs, seed=seed,
            only_one_novel=self.only_one_novel, refill=self.refill,
        )  # fmt: skip
        episodes: list[Episode] = []
        lengths, official = [], 0
        for run, (supports, others) in enumerate(drawn):
            asked = self._queries(index, others, run, seed)
            official += len(asked)
            if task.episodes is not None:  # so many over all runs
                asked = asked[: task.episodes // self.runs + (run < task.episodes % self.runs)]
            lengths.append(len(asked))
            for name in asked:
                shown = min(number for number in ordered if pixels[name].get(number))
                ways = (*((),) * len(base), *supports)
                episodes.append(Episode(len(episodes), name, shown, ordered, ways))
        pairs = PairList(tuple((name, 0) for name in names), origin)
        entries = self.header_entries(index, task, ordered) | {
            "class_ids": list(ordered),
            "all_classes": True,
            "novel_ids": novel,
            "run_lengths": lengths,
            "episodes": len(episodes),
            "requested": len(episodes),
            "official_episodes": official,
            "dropped_classes": few,
            "lists": origin,
            "lists_sha256": pairs.sha256,
            "all_lists_sha256": pairs.sha256,
        }
        return Manifest(entries, tuple(episodes))

    def candidates(
        self, dataset: str, pixels: Mapping[Name, Mapping[int, int]], classes: Collection[int], novel: Sequence[int]
    ) -> tuple[list[Name], dict[int, list[Name]]]:
        """Return the images that may be queries, and those that may be supports of each novel class (§2).

        Args:
            dataset: its name.
            pixels: image, in list order -> pixels of each label.
            classes: all of them.
            novel: the novel ones.
        """
        least = self._least(dataset)
        queries = [name for name, shown in pixels.items() if any(shown.get(number) for number in classes)]
        supports = {n: [name for name, shown in pixels.items() if shown.get(n, 0) >= least] for n in novel}
        return queries, supports

    def _may_support(self, shown: Collection[int], novel: Collection[int]) -> bool:
        """Return True if an image that shows these classes may be a support."""
        return not self.only_one_novel or len(set(novel).intersection(shown)) <= 1

    def _least(self, dataset: str) -> int:
        return self.support_pixels.get(dataset, self.support_pixels[OTHERS])

    def _queries(self, index: SegmentationIndex, queries: Sequence[str], run: int, seed: int) -> Sequence[str]:
        """Return the queries of a run, in list order."""
        count = self.episodes.get(index.name, self.episodes[OTHERS])
        if count == "all" or count >= len(queries):
            return queries
        chosen = random.Random(repr(("queries", seed, run))).sample(range(len(queries)), count)
        return [queries[place] for place in sorted(chosen)]

    def _images(self, index: SegmentationIndex) -> tuple[Sequence[str], str]:
        return self._provider(index).images()

    def _provider(self, index: SegmentationIndex) -> ValidationImages:
        return ValidationImages.find(index) or ValidationImages(index)

    def setting_pairs(self, index: SegmentationIndex, setting: str, fold: int) -> PairList:
        names, origin = self._images(index)
        return PairList(tuple[Pair, ...]((name, 0) for name in names), origin)

    def check_draws(self, task: EpisodeTask) -> None:
        raise SettingsError(
            f"a test of {self.name} has {self.runs} draws of its supports already, each for all queries; leave draws "
            f"(found {task.draws}) and nested_in (found {task.nested_in}) out"
        )

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        return iter(self.official_manifest(index, task).episodes)

    def novel_classes(self, header: Header) -> list[int]:
        return list(header.protocol_entries["novel_ids"])

    def check_choices(self, setting: str, way: int) -> None:
        super().check_choices(setting, way)
        if way != 1:
            raise SettingsError(f"the protocol {self.name} asks for all classes at once, found way {way}; leave WAY=1")

    # How are images and masks seen?

    def view(self, index: SegmentationIndex) -> SegmentationIndex:
        return self._provider(index).view()

    def item(
        self, index: SegmentationIndex, episode: Episode, config: "LoadingConfig", files: "DecodedImageCache"
    ) -> "EpisodeBatch":
        """Load a query with all supports; those of base classes are absent, and supports show novel classes alone."""
        import torch  # with the loader

        from fsbench.data.batch import EpisodeBatch, Truth
        from fsbench.data.label_maps import way_labels
        from fsbench.data.transforms import RESIZES

        if config.box_supervision or config.kept_support < 1:
            raise SettingsError(
                f"the protocol {self.name} has supports with whole masks; leave data.support_annotation and "
                "data.kept_support"
            )
        side, ways = config.size, len(episode.classes)
        shots = max(len(names) for names in episode.supports)
        names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
        images, maps = [], {}
        for name in names:
            image, labels = files.decoded(name)
            images.append(image)
            maps[name] = way_labels(labels, index.label_values(name, episode.classes))
        small = {name: torch.from_numpy(RESIZES[self.resize][1](labels, side, side)) for name, labels in maps.items()}
        support = torch.zeros(1, ways, shots, dtype=torch.int64)
        valid = torch.zeros(1, ways, shots, dtype=torch.bool)
        shown = torch.zeros(1, ways, shots, side, side, dtype=torch.uint8)
        own = torch.zeros_like(shown)
        base = [way for way, listed in enumerate(episode.supports, start=1) if not listed]
        for way, listed in enumerate(episode.supports):
            for number, name in enumerate(listed):
                support[0, way, number], valid[0, way, number] = names.index(name), True
                seen = small[name]
                shown[0, way, number] = torch.where(torch.isin(seen, torch.tensor(base, dtype=seen.dtype)), 0, seen)
                own[0, way, number] = torch.where(seen == VOID, VOID, seen == way + 1)
        target, size = config.geometry.truth(maps[episode.query], side)
        counted = small[episode.query] != VOID
        if not self.tells_void:
            counted = torch.zeros_like(counted)
            counted[: target.shape[0], : target.shape[1]] = True
        present = [bool((maps[episode.query] == way).any()) for way in range(1, ways + 1)]
        return EpisodeBatch(
            images=torch.stack(images),
            image_names=names,
            query=torch.zeros(1, dtype=torch.int64),
            support=support,
            support_labels=own,
            valid=valid,
            query_sizes=torch.tensor([size]),
            episodes=torch.tensor([episode.index]),
            truth=Truth([torch.from_numpy(target.copy())], torch.tensor([present]), torch.tensor([episode.classes])),
            support_ways=shown,
            ways=torch.tensor([ways]),
            counted_pixels=counted[None],
        )

    # Which scores follow?

    def statistics_with_void(self, frame: "pl.DataFrame", header: Header, void: str) -> "ScoreStatistics":
        """Sum a whole count table; by run and class for the mean of base and novel mIoU."""
        import numpy as np  # with polars

        keep = (frame["slot"] > 0).to_numpy()
        ends = np.cumsum(header.protocol_entries["run_lengths"])
        run = np.searchsorted(ends, frame["episode"].to_numpy()[keep], side="right")
        counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])[keep]
        values = np.zeros((len(run), len(ends), 2), dtype=np.int64)
        values[np.arange(len(run)), run] = np.stack(intersection_union(counts, void), 1)
        ordered, novel = header.class_ids, set(self.novel_classes(header))
        sums = sum_by_class(frame, keep, ordered, values)
        is_novel = np.array([number in novel for number in ordered])
        whole = super().statistics_with_void(frame, header, void)
        return replace(whole, base_runs=sums[:, ~is_novel], novel_runs=sums[:, is_novel])

    # In which words?

    def title(self, header: Header) -> str:
        novel, runs = len(self.novel_classes(header)), len(header.protocol_entries["run_lengths"])
        return (
            f"{header.dataset} · {len(header.class_ids) - novel} base and {novel} novel classes at once, {header.shot}-"
            f"shot · protocol {header.protocol} v{header.version} · {runs} runs, {header.requested} queries a fold"
        )

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        told = (
            ["methods are told which pixels of a query are void, as the authors' program is"] if self.tells_void else []
        )
        return [*super().rule_notes(header, image_sizes), *told]

    def conditions(self, dataset: str) -> Conditions:
        stated = super().conditions(dataset)
        return replace(
            stated,
            task="GFSS",
            min_object=stated.min_object if self._least(dataset) == 16384 else NOT_STATED,
            void=self._void_condition(dataset),
            metric="gfss, base without background",
            fb_iou="not computed",
        )

    def choices(self) -> list[Choice]:
        told = "void pixels of the query are told" if self.tells_void else "only the query's padding is told"
        return [
            *super().choices(),
            Choice("runs", self.runs, f"scores are means over {self.runs} draws of the supports"),
            Choice(
                "supports show", self.support_pixels, f"{words_by_dataset(self.support_pixels)} pixels of the class"
            ),
            Choice(
                "supports with other novel classes",
                not self.only_one_novel,
                "none: a support shows one novel class" if self.only_one_novel else "allowed, all of them are labelled",
            ),
            Choice(
                "slots of a class with too few images",
                self.refill,
                "filled from all supports so far, mostly of other classes, as the authors' program does"
                if self.refill == "official"
                else "filled from the class's own supports",
            ),
            Choice("methods are told", self.tells_void, told),
        ]


def list_sha256(lines: Sequence[str]) -> str:
    """Return the checksum of a list file with these lines, a final newline included (§2)."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
