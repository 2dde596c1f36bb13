"""Generalised few-shot segmentation as DIaM evaluates it: base and novel classes at once on whole images (gfss.md).

Every query of a run is answered with the same N·K supports, drawn once; a test is several runs, whose scores are
averaged. An episode is about all classes: the base ones, which have no support, then the novel ones.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, TypeVar

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import PairList, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS, Choice, value_on, words_by_dataset
from fsbench.protocols.conditions import NOT_STATED, Conditions, ListsAndDraw
from fsbench.protocols.generalised import Generalised
from fsbench.protocols.geometry import QuerySize
from fsbench.protocols.pools import LEAVE_OUT
from fsbench.scores.generalised import generalised_metrics

Refill = Literal["official", "own_class"]
Name = TypeVar("Name")


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
class GFSS(Generalised):
    """Base and novel classes at once over the validation images; mean of base and novel mIoU.

    Attributes:
        episodes: by data set, queries of a run, or "all" that are no supports; some are drawn anew for each run.
        runs: number of runs, each with supports of its own.
        support_pixels: by data set, pixels of its class that a support shows at least.
        only_one_novel: a support shows no other novel class.
        refill: what fills the slots of a class with too few images, see `draw_runs`.
        tells_void: see `Generalised`; the authors' program tells its own.
    """

    seed: int | None = 2023
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: "all", "coco": 10000})
    query_size: QuerySize = "input"
    runs: int = 5
    support_pixels: dict[str, int] = field(default_factory=lambda: {OTHERS: 16 * 32 * 32, "demo": 256})
    only_one_novel: bool = True
    refill: Refill = "official"
    tells_void: bool = True

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw("gfss", "16384 support only", "fixed support set, by shuffling")
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
        return tuple(metric.name for metric in generalised_metrics(absent_is_zero=False))

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
                f"{', without another novel class' * self.only_one_novel}; use the complete validation images"
                + (
                    ": without these classes, which DROP_SMALL=1 (--drop-small) leaves out, none remains"
                    if task.skip_small_classes
                    else f", or {LEAVE_OUT}"
                )
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
        entries = self.header_entries(index, task, novel) | {
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
        return int(value_on(self.support_pixels, dataset))

    def _queries(self, index: SegmentationIndex, queries: Sequence[str], run: int, seed: int) -> Sequence[str]:
        """Return the queries of a run, in list order."""
        count = value_on(self.episodes, index.name)
        if count == "all" or count >= len(queries):
            return queries
        chosen = random.Random(repr(("queries", seed, run))).sample(range(len(queries)), count)
        return [queries[place] for place in sorted(chosen)]

    def check_draws(self, task: EpisodeTask) -> None:
        raise SettingsError(
            f"a test of {self.name} has {self.runs} draws of its supports already, each for all queries; leave draws "
            f"(found {task.draws}) and nested_in (found {task.nested_in}) out"
        )

    # In which words?

    def title(self, header: Header) -> str:
        novel, runs = len(self.novel_classes(header)), len(header.protocol_entries["run_lengths"])
        return (
            f"{header.dataset} · {len(header.class_ids) - novel} base and {novel} novel classes at once, {header.shot}-"
            f"shot · protocol {header.protocol} v{header.version} · {runs} runs, {header.requested} queries a fold"
        )

    def conditions(self, dataset: str) -> Conditions:
        stated = super().conditions(dataset)
        return stated if self._least(dataset) == 16384 else replace(stated, min_object=NOT_STATED)

    def choices(self) -> list[Choice]:
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
        ]
