"""Evaluate an experiment's test episodes and write its record."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import lightning as L
import torch

from fsbench.base.errors import ContractError
from fsbench.base.files import fingerprint
from fsbench.base.progress import track
from fsbench.core.answering import THREADS, answering
from fsbench.core.method import Method
from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.evaluation_order import evaluation_order
from fsbench.networks.backbones.base import share_passes
from fsbench.protocols.loop import Answerer
from fsbench.records.asked_alone import Tally, ask_alone, check_asked_alone, episodes_to_ask
from fsbench.records.counts import to_frame
from fsbench.records.journal import Journal
from fsbench.records.machine import PACKAGES, provenance
from fsbench.records.record import Record
from fsbench.records.remaining_episodes import Answering, Share, evaluate_episodes
from fsbench.records.run import Cost, Keep, Provenance, RunFacts, Told, TrainingOutcome, Weights
from fsbench.records.run_directory import RunDirectory
from fsbench.records.writing import write_record
from fsbench.runner.engine.answering import fresh_copy
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import changed_modules
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.machine.process_group import in_each_process
from fsbench.runner.engine.origins import plug_in_origins, training_facts
from fsbench.runner.engine.train import Preparation

log = logging.getLogger("fsbench")


RecordListener = Callable[[Journal, Record], None]
"""Called with a record that is complete except for `run.json`, after the journal that it was made from."""


@dataclass(frozen=True)
class Evaluation:
    """Unfinished evaluation of a run: what is needed to predict the rest of its test and to write the record.

    Attributes:
        experiment: the run, with its method trained and prepared.
        trainer: the run's trainer.
        directory: folder to which the record is written.
        preparation: results of the training, calibration or adaptation of the method before the test.
        listeners: functions that are called with the journal (results so far) and the record before the record is
            complete.
        shown: numbers of episodes whose masks stay in the journal for `listeners`, even if the run keeps no masks.
    """

    experiment: Experiment
    trainer: L.Trainer
    directory: RunDirectory
    preparation: Preparation
    listeners: Sequence[RecordListener] = ()
    shown: Collection[int] = ()

    @cached_property
    def answered_by(self) -> Answering:
        """The test with the method that predicts this process's share of the episodes."""
        return _answering(self.experiment, self.trainer)

    @cached_property
    def keep(self) -> Keep:
        """How much of the predictions the run keeps; "none" in classification, where the counts are the predictions."""
        return self.experiment.options.keep_predictions if self.experiment.data.protocol.has_masks else "none"

    @cached_property
    def asked(self) -> list[int]:
        """Numbers of the episodes that are also predicted alone before the test, to check their independence."""
        in_order = self.answered_by.in_order(self.experiment.data.manifest.episodes)
        return episodes_to_ask(in_order, self.experiment.options.asked_alone)

    @cached_property
    def journal(self) -> Journal:
        """Results of the episodes that are already evaluated."""
        facts = self.preparation.facts
        followed = [self.experiment.identity.as_json(), self.preparation.checkpoint_sha256, facts.get("calibration")]
        return Journal(self.directory.path / "evaluation", fingerprint(followed))

    @cached_property
    def alone(self) -> Tally:
        """Predictions of a fresh copy of the method for single episodes (`asked`); every rank must take part."""
        if not self.asked:
            return Tally()
        return in_each_process(self.trainer, partial(_ask_alone, self.trainer, self.answered_by, self.asked))

    def begin(self, around: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Share:
        """Predict the episodes `Evaluation.asked` one by one, then return the episodes that are still to be evaluated.

        Args:
            around: returns a context manager in which each batch is predicted, such as the run's own log.
        """
        for line in self.journal.damaged():
            log.warning("%s of the journal is damaged; its episode is evaluated again", line)
        done = self.journal.done(self.keep)
        _ = self.alone
        self.experiment.method.backbone.cache.forget_counts()
        numbers = [episode.number for episode in self.experiment.data.manifest.episodes]
        left = [number for number in numbers if number not in done]
        log.info("evaluation: %d of %d episodes are left", len(left), len(numbers))
        has_masks = self.experiment.data.protocol.has_masks
        least: Keep = "masks" if self.keep == "none" and has_masks else self.keep  # of what is shown or compared
        needed = {*self.shown, *self.asked}
        keep_of = lambda episode: least if episode in needed else self.keep  # noqa: E731
        return Share(self.answered_by, left, self.journal, keep_of, around)

    def end(self, cost: Cost, kernels: set[str]) -> Record | None:
        """Write the record of all ranks' journals on rank 0; the other ranks wait.

        Returns:
            The record on rank 0, None on the other ranks.

        Raises:
            ContractError: an episode that was predicted alone got another prediction than in the test.
        """
        try:
            record = self._record(cost, kernels) if self.trainer.is_global_zero else None
        except Exception:
            self.trainer.strategy.barrier("recorded")  # where the other ranks wait
            raise
        self.trainer.strategy.barrier("recorded")
        return record

    def _record(self, cost: Cost, kernels: set[str]) -> Record:
        experiment, journal = self.experiment, self.journal
        try:
            check_asked_alone(self.alone, journal, self.asked, experiment.options.name)
        except ContractError:
            journal.remove()  # answers that no test may have
            raise
        facts = _facts(experiment, self.trainer, self.preparation, cost, kernels, len(self.asked), journal.notes())
        frame = to_frame(journal.rows(), experiment.data.manifest)
        told = [partial(listener, journal) for listener in self.listeners]
        meaning, test = experiment.method.attention_meaning, self.answered_by.test
        record = write_record(self.directory.path, test, frame, facts, journal.predictions(), self.keep, meaning, told)
        journal.remove()
        self.directory.publish()
        return record


def evaluate(evaluation: Evaluation) -> Record | None:
    """Evaluate the unfinished episodes of a run, split over processes, and write the record.

    Returns:
        The record on rank 0, None on the other ranks.

    Raises:
        ContractError: an episode that was predicted alone got another prediction than in the test.
    """
    experiment, trainer = evaluation.experiment, evaluation.trainer
    share = evaluation.begin()
    meter = Meter(trainer.strategy.root_device)

    def evaluate_share() -> None:
        # the numbers of rank 0: an orphan of a killed run may still write to the journal
        numbers = trainer.strategy.broadcast(share.numbers)
        _leave(experiment, numbers)
        evaluate_episodes([replace(share, numbers=numbers)], _showing(evaluation))

    kernels: set[str] = set()
    if share.numbers:
        with unordered_kernels() as kernels:
            in_each_process(trainer, evaluate_share)
        trainer.strategy.barrier("evaluated")
    return evaluation.end(_cost(evaluation, share, meter.seconds, meter.peak_mib_of_all_ranks()), kernels)


def evaluate_together(evaluations: Sequence[Evaluation]) -> list[Record | None]:
    """Evaluate runs of one test together: each image is loaded once, and encoded once by each network.

    The seconds of each run are those that it would take alone: without the work of other runs, and with network passes
    that another run made for it. Peak memory is None, since the runs share the process.

    Returns:
        The record of each run on rank 0, None on the other ranks.
    """
    networks = [each.experiment.method.backbone for each in evaluations]
    share_passes(networks)
    parts = [_Part(each) for each in evaluations]
    shares = []
    for part in parts:
        with part.measured():
            shares.append(part.evaluation.begin(part.measured))
        part.forget()  # reading the journal and asking episodes alone
        _leave(part.evaluation.experiment, shares[-1].numbers)

    def part_of(batch: EpisodeBatch, left: frozenset[int]) -> EpisodeBatch | None:
        return None if left.isdisjoint(batch.episodes.tolist()) else batch.to("cpu", copy=True)

    def batches(loader: Any) -> Iterator[EpisodeBatch]:
        for batch in _showing(evaluations[0])(loader):
            yield batch
            for network in networks:
                network.forget_passes()

    began = time.perf_counter()
    if left := [share for share in shares if share.numbers]:
        evaluate_episodes(left, batches, part_of)
    loading = time.perf_counter() - began - sum(part.seconds for part in parts)
    return _ended([partial(part.end, share, loading) for part, share in zip(parts, shares, strict=True)])


def _ended(ends: Sequence[Callable[[], Record | None]]) -> list[Record | None]:
    """Make all records that can be made; then raise the first error, where there was one."""
    records: list[Record | None] = []
    errors: list[Exception] = []
    for end in ends:
        try:
            records.append(end())
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return records


class _Part:
    """A run's part of a walk with others: its own log, its seconds, and its kernels without a fixed order."""

    def __init__(self, evaluation: Evaluation):
        self.evaluation = evaluation
        self.forget()

    def forget(self) -> None:
        """Measure anew."""
        self.seconds = 0.0
        self.spared = 0.0
        self.kernels: set[str] = set()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Let the block be this run's."""
        network = self.evaluation.experiment.method.backbone
        started, spared = time.perf_counter(), network.spared_seconds
        with self.evaluation.directory.logged(), unordered_kernels() as kernels:
            yield
        self.seconds += time.perf_counter() - started
        self.spared += network.spared_seconds - spared
        self.kernels |= kernels

    def end(self, share: Share, loading: float) -> Record | None:
        """Make the record; `loading` are the seconds that all have waited for batches."""
        seconds = self.seconds + self.spared + loading if share.numbers else None
        with self.evaluation.directory.logged():
            return self.evaluation.end(_cost(self.evaluation, share, seconds, None), self.kernels)


def _leave(experiment: Experiment, numbers: Sequence[int]) -> None:
    """Prepare a run for the episodes that are left."""
    data = experiment.data
    data.done = frozenset(episode.number for episode in data.manifest.episodes).difference(numbers)


def _answering(experiment: Experiment, trainer: L.Trainer) -> Answering:
    """Return the run's test with its method, which answers this process's share of the episodes."""
    data, method, precision = experiment.data, experiment.method, trainer.precision_plugin

    def batches(numbers: Sequence[int]) -> Any:
        _leave(experiment, numbers)
        return data.test_batches()

    @contextmanager
    def ready(get_method: Callable[[], Method]) -> Iterator[Answerer]:
        torch.set_num_threads(THREADS)  # some kernels sum in another order with another number
        precision.convert_module(method)
        method.to(trainer.strategy.root_device)
        with answering(get_method(), data, precision.test_step_context) as answer:
            yield answer

    return Answering(
        method.registry_name,
        data.tested,
        lambda: ready(lambda: method),
        lambda: ready(lambda: fresh_copy(method)),
        batches,
        evaluation_order if data.protocol.has_masks else list,
    )


def _ask_alone(trainer: L.Trainer, answered_by: Answering, asked: Sequence[int]) -> Tally:
    """Ask episodes alone, each of a fresh copy of the method; every rank takes part, and gets all answers."""
    alone = ask_alone(answered_by, asked)
    if trainer.world_size == 1:
        return alone
    of_ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(of_ranks, alone)
    return Tally.joined(of_ranks)


def _showing(evaluation: Evaluation) -> Callable[[Any], Iterable[Any]]:
    """Return what iterates over batches, and shows how far they are unless the run is to be quiet."""
    is_shown = evaluation.experiment.trainer_settings["enable_progress_bar"] is not False
    if evaluation.trainer.is_global_zero and is_shown:
        return partial(track, description="evaluation", unit="batch")
    return iter


def _cost(evaluation: Evaluation, share: Share, seconds: float | None, peak_mib: float | None) -> Cost:
    """Return what this start's evaluation took; `peak_mib` is None if others ran in the same process."""
    method, way = evaluation.experiment.method, evaluation.experiment.data.test.way
    cache = method.backbone.cache
    asked = cache.hits + cache.misses
    return Cost(
        trainable_parameters=method.num_trainable_parameters(way),
        total_parameters=method.num_parameters(way),
        evaluation_seconds=seconds,
        episodes_per_second=len(share.numbers) / seconds if share.numbers and seconds else None,
        peak_mib=peak_mib,
        kept_features=cache.hits / asked if asked else None,
    )


def _facts(
    experiment: Experiment,
    trainer: L.Trainer,
    preparation: Preparation,
    cost: Cost,
    kernels: set[str],
    asked: int,
    notes: Sequence[str],
) -> RunFacts:
    """Return what is known of a run besides its counts.

    Args:
        experiment, trainer, preparation: see `Evaluation`.
        cost, kernels: of the evaluation, see `Evaluation.end`.
        asked: number of episodes that were asked alone as well.
        notes: what was noticed of the answers.
    """
    data, method = experiment.data, experiment.method
    device = trainer.strategy.root_device
    made_in = {
        **provenance(PACKAGES, torch.cuda.get_device_name(device) if device.type == "cuda" else None),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "unordered_kernels": sorted(kernels),
        "plug_ins": plug_in_origins(experiment),
    }
    more: dict[str, Any] = {} if method.sees_supports else {"sees_supports": False}
    more |= {"beyond_authors_rule": beyond} if (beyond := experiment.beyond_authors_rule) else {}
    more |= {"asked_alone": asked} if asked else {}
    more |= {"label": label} if (label := experiment.label) else {}
    more |= {"loaded": Weights.model_validate(loaded)} if (loaded := experiment.checkpoint_weights) else {}
    made = dict(preparation.facts)
    if experiment.trains and (number := (facts := training_facts(experiment))["episodes"]) is not None:
        made |= {"validation_episodes": number, "official_validation_episodes": facts["official_episodes"]}
    return RunFacts(
        id=experiment.folder.name,
        identity=experiment.identity,
        checkpoint_variant=experiment.checkpoint_variant,
        told=_told(experiment),
        presence="predicted" if method.predicts_presence else data.protocol.counting.presence,
        remarks=[*_remarks(experiment), *notes],
        cost=cost,
        **more,
        made=TrainingOutcome.model_validate(made),
        provenance=Provenance.model_validate(made_in),
    )


def _told(experiment: Experiment) -> Told:
    """Return what the method was told about the test's classes."""
    data, method = experiment.data, experiment.method
    adaptation = method.needs.adaptation
    more = {} if adaptation is None else {"labelled_images": data.adaptation_images(adaptation).images_a_class}
    return Told(supervision=list(method.supervision), saw_test_classes=experiment.saw_test_classes, **more)


def _remarks(experiment: Experiment) -> list[str]:
    """Return what a reader of the scores must know: of the method, the test, the training's lists and its classes."""
    data = experiment.data
    drew_from_lists = "base_lists" in (experiment.identity.training or {})
    seen = [
        f"trained on {dataset}, whose classes include {len(names)} of the test's: {', '.join(names[:10])}"
        + ", …" * (len(names) > 10)
        for dataset, names in experiment.seen_elsewhere.items()
    ]
    trained = data.training_list_notes if drew_from_lists else ()
    changed = [f"the file of the module {name} changed during the run" for name in changed_modules(experiment)]
    return [*experiment.method.record_notes(data), *data.tested.remarks, *trained, *seen, *changed]
