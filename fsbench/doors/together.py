"""One method under several tests of a data set: each input is answered once, and counted under every test that asks it.

Each test leaves the record that `fsbench bench` leaves of it, and an unfinished one the journal, from which either
command goes on.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import lightning as L
import torch
from torch.utils.data import Dataset

from fsbench.base.errors import SettingsError
from fsbench.base.progress import track
from fsbench.core.evaluation import answering
from fsbench.core.loading import LoadingConfig
from fsbench.data.annotations import WEAK
from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.data.loader import Loader, end_quietly
from fsbench.data.transforms import RESIZES
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.loading.episodes import ManifestEpisodes
from fsbench.protocols.evaluation import evaluate_batches
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.segmentation import Segmentation
from fsbench.protocols.truth import episode_truth
from fsbench.records.journal import Journal
from fsbench.records.record import Record
from fsbench.records.run_directory import RunDirectory
from fsbench.runner.engine.callbacks import THREADS
from fsbench.runner.engine.evaluate import EvaluationCost, kept_predictions, open_journal, write_results
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.check import check_machine
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.train import Preparation
from fsbench.runner.engine.trainer import build_trainer
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult


class Asker(NamedTuple):
    """An episode that asks a question: the place of its test among those that are run, and its number there."""

    test: int
    episode: int


@dataclass
class Question:
    """A query, its supports and their classes as one geometry shows them, and who asks it.

    Attributes:
        episode: one of those that ask it.
        askers: by the geometry at which the answer is counted.
    """

    episode: Episode
    askers: dict[Geometry, list[Asker]] = field(default_factory=dict)


class Count(NamedTuple):
    """A truth, and the episodes whose count against it is the same."""

    geometry: Geometry
    truth: EpisodeTruth
    askers: list[Asker]


class Asked(NamedTuple):
    """A question as it is answered: once for each size that an answer is asked for at, with what is counted of it."""

    batch: EpisodeBatch
    counts: list[list[Count]]


class Questions(Dataset[Asked]):
    """Questions with their truths, loaded as one geometry shows them.

    Args:
        questions: in the order in which they are asked.
        items: their episodes, loaded.
    """

    def __init__(self, questions: Sequence[Question], items: ManifestEpisodes):
        self.questions, self.items = questions, items

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, place: int) -> Asked:
        question, index, batch = self.questions[place], self.items.index, self.items[place]
        labels = index.label_map(question.episode.query)
        by_size: dict[tuple[int, int], list[Count]] = {}
        for geometry, askers in question.askers.items():
            truth = episode_truth(index, question.episode, geometry, self.items.config.size, labels)
            by_size.setdefault(truth.size, []).append(Count(geometry, truth, askers))
        return Asked(batch.at_sizes(list(by_size)), list(by_size.values()))


@dataclass(frozen=True)
class SharedCounting:
    """Counts an answer under every test that asks for it: once for each truth.

    Attributes:
        protocols: one of those that count at a geometry, which alone decides the count.
    """

    protocols: dict[Geometry, Segmentation]

    def separate(self, asked: Asked) -> tuple[EpisodeBatch, list[list[Count]]]:
        """Part a question from its truths."""
        return asked.batch.without_truth(), asked.counts

    def count(self, answer: SegmentationAnswer, counts: list[Count]) -> list[tuple[int, SegmentationResult]]:
        """Return the result of every episode that asks, each with the place of its test."""
        results = []
        for one in counts:
            counted = self.protocols[one.geometry].count(answer, one.truth)
            results += [(test, replace(counted, episode=number)) for test, number in one.askers]
        return results


def run_together(experiments: Sequence[Experiment]) -> list[Record]:
    """Complete the runs of one method under several tests of one data set, on one device.

    Args:
        experiments: they differ in their protocols alone, and nothing is trained or calibrated.

    Returns:
        Their records, in the same order.

    Raises:
        SettingsError: they differ in more than their tests, or the method must be trained or calibrated first.
        FsbenchError: a run cannot be finished.
    """
    first = experiments[0]
    for one in experiments:
        _check(one, first)
    for one in experiments:
        one.method = first.method  # one network, and its features, serve all tests
    left = [one for one in experiments if not one.is_done]
    if left:
        check_machine(first.trainer_settings)
    by_input: dict[tuple[object, ...], list[Experiment]] = {}
    for one in left:
        by_input.setdefault(_input(one), []).append(one)
    seen = None
    for number, key in enumerate(sorted(by_input, key=str), start=1):
        image_rule = RESIZES[str(key[0])][0]
        if image_rule is not seen:
            first.method.backbone.cache.clear()  # features are kept by names of images, whatever shows them
            seen = image_rule
        _run_alike(by_input[key], f"input {number} of {len(by_input)}")
    records = [one.record() for one in experiments]
    return [record for record in records if record is not None]


def _check(one: Experiment, first: Experiment) -> None:
    """Raise SettingsError unless `one` and `first` are the same method, ready for its test, on the same images."""
    name = one.options.name
    if one.trains:
        raise SettingsError(
            f"{name} learns, and a network of each test's own training would be another method; expected its "
            "checkpoint: train it once (fsbench bench), and give --ckpt <run>/checkpoints/best.ckpt"
        )
    if one.method.needs.before_test:
        raise SettingsError(
            f"{name} {one.method.needs.before_test}, which each test would do anew; give it settings that do not"
        )
    if one.method.needs.classes != "unknown":
        raise SettingsError(
            f"{name} follows the classes in the order of a test's own episodes, so that a question has another answer "
            "in each; run each test by itself (fsbench bench)"
        )
    if one.processes > 1:
        raise SettingsError(f"devices is {one.processes}, and several tests are run on one; expected 1")
    if one.data.protocol.asks_base_classes:
        raise SettingsError(
            f"{one.data.protocol.name} asks for base classes, too, which is another kind of question; run it by itself "
            "(fsbench bench)"
        )
    ours, theirs = (
        (each.settings["model"], each.data.dataset.name, each.data.test.fold, each.data.image_size, each.checkpoint)
        for each in (one, first)
    )
    if ours != theirs:
        raise SettingsError(f"{one.data.protocol.name}: {name} has other settings there; expected one method on all")


def _input(experiment: Experiment) -> tuple[object, ...]:
    """Return everything besides its names that decides what a method sees of an episode."""
    config: LoadingConfig = experiment.data.test_loading  # type: ignore[attr-defined]  # of segmentation
    drawn = config.annotation in WEAK or config.kept_support < 1
    seed = config.annotation_seed if drawn else None
    return config.resize, config.size, config.annotation, config.kept_support, seed, tuple(sorted(config.hints))


def _run_alike(experiments: Sequence[Experiment], words: str) -> None:
    """Complete runs whose tests show images alike, and write their records."""
    with ExitStack() as stack:
        directories = [stack.enter_context(RunDirectory(one.folder, force=one.options.force)) for one in experiments]
        pairs = [pair for pair in zip(experiments, directories, strict=True) if not pair[1].is_complete]
        if not pairs:
            return
        for experiment, directory in pairs:
            directory.write_json("identity.json", experiment.identity.as_json())
            directory.write_text("config.yaml", experiment.config_text)
        trainer, _ = build_trainer(pairs[0][0], pairs[0][1].path, lambda *_: [])
        journals = [open_journal(experiment, directory.path, Preparation()) for experiment, directory in pairs]
        kernels = _answer([experiment for experiment, _ in pairs], journals, trainer, words)
        for (experiment, directory), journal in zip(pairs, journals, strict=True):
            cost = EvaluationCost(None, None, 0, kernels)
            write_results(experiment, trainer, directory.path, Preparation(), journal, cost)
            directory.publish()


def _answer(experiments: Sequence[Experiment], journals: Sequence[Journal], trainer: L.Trainer, words: str) -> set[str]:
    """Ask the method what the journals lack, and write every test's results to its journal as they come.

    Returns:
        Names of the kernels without a fixed order that were used.
    """
    first = experiments[0]
    method, data = first.method, first.data
    questions = ask_once(experiments)
    if not questions:
        return set()
    counting = SharedCounting({one.data.protocol.geometry: one.data.protocol for one in reversed(experiments)})
    torch.set_num_threads(THREADS)  # some kernels sum in another order with another number
    precision = trainer.precision_plugin
    precision.convert_module(method)
    method.to(trainer.strategy.root_device)
    with (
        unordered_kernels() as kernels,
        answering(method, data, precision.test_step_context) as answerer,
        ExitStack() as stack,
    ):
        writers = [stack.enter_context(closing(journal.open())) for journal in journals]
        keep = [kept_predictions(one) for one in experiments]

        def add(results: Iterable[list[tuple[int, SegmentationResult]]]) -> None:
            by_test: dict[int, list[SegmentationResult]] = {}
            for test, result in (pair for of_size in results for pair in of_size):
                by_test.setdefault(test, []).append(result)
            for test, own in by_test.items():
                writers[test].add_with_predictions(own, lambda _, kept=keep[test]: kept)  # type: ignore[misc]

        batches = _loader(first, questions)
        shown = track(batches, words, "question") if first.shows_progress else batches
        evaluate_batches(shown, counting, answerer, add, method.registry_name)
    return kernels


def ask_once(experiments: Sequence[Experiment]) -> list[Question]:
    """Join the unfinished episodes of tests that show images alike to the questions that differ.

    Two episodes ask the same where query, supports and classes are the same, in their order; with a method that draws
    by an episode's number, or supports that are drawn by it, only where that is the same, too.

    Returns:
        The questions in an order that encodes few images twice.
    """
    found: dict[object, Question] = {}
    for test, experiment in enumerate(experiments):
        config: LoadingConfig = experiment.data.test_loading  # type: ignore[attr-defined]  # of segmentation
        by_number = experiment.method.draws_by_number or config.annotation in WEAK or config.kept_support < 1
        for episode in experiment.data.unfinished_episodes():
            key = episode.query, episode.classes, episode.supports, episode.index if by_number else None
            question = found.setdefault(key, Question(episode))
            question.askers.setdefault(config.geometry, []).append(Asker(test, episode.index))
    questions = list(found.values())
    ordered = evaluation_order(replace(one.episode, index=place) for place, one in enumerate(questions))
    return [questions[episode.index] for episode in ordered]


def _loader(first: Experiment, questions: Sequence[Question]) -> Loader:
    """Return the loader of questions, which a data module's workers share."""
    data = first.data
    episodes = [question.episode for question in questions]
    next_shown = dict(enumerate(next_uses(episodes)))
    config: LoadingConfig = data.test_loading  # type: ignore[attr-defined]  # of segmentation
    items = ManifestEpisodes(data.protocol, data.dataset, episodes, config, next_shown)
    workers: int = data.loading.workers
    return Loader(Questions(questions, items), batch_size=None, num_workers=workers, worker_init_fn=end_quietly)
