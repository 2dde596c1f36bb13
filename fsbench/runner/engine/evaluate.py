"""Evaluate an experiment's test episodes and write its record."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch

from fsbench.base.errors import ContractError
from fsbench.base.files import fingerprint
from fsbench.base.progress import track
from fsbench.core.datamodule import DataModule
from fsbench.core.evaluation import answering, fresh_copy
from fsbench.core.method import Method
from fsbench.data.episodes.evaluation_order import evaluation_order
from fsbench.protocols.evaluation import Answerer
from fsbench.protocols.test import Test
from fsbench.records.asked_alone import Tally, ask_alone, check_asked_alone, episodes_to_ask
from fsbench.records.counts import to_frame
from fsbench.records.evaluation import Answering, evaluate_episodes
from fsbench.records.journal import Journal
from fsbench.records.machine import PACKAGES, provenance
from fsbench.records.predictions import Keep
from fsbench.records.record import Record
from fsbench.records.run import Cost, Provenance, RunFacts, Told, TrainingOutcome, Weights
from fsbench.records.run_directory import RunDirectory
from fsbench.records.writing import Listener, write_record
from fsbench.runner.engine.callbacks import THREADS
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import feature_rounding
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.plug_in_origins import plug_in_origins
from fsbench.runner.engine.processes import in_each_process
from fsbench.runner.engine.train import Preparation
from fsbench.runner.engine.training_facts import weights_origin

log = logging.getLogger("fsbench")


RecordListener = Callable[[Record, Journal], None]
"""Called when the record is complete except for `run.json`, with the journal that it was made from."""


@dataclass(frozen=True)
class EvaluationCost:
    """The cost of this start's evaluation: seconds, peak memory, episodes, kernels without a fixed order."""

    seconds: float
    peak_mib: float
    episodes: int
    unordered_kernels: set[str]


def evaluate(
    experiment: Experiment,
    trainer: L.Trainer,
    directory: RunDirectory,
    preparation: Preparation,
    listeners: Sequence[RecordListener] = (),
    shown: Collection[int] = (),
) -> Record | None:
    """Evaluate the episodes that are not done yet; rank 0 makes the record of all ranks' journals.

    Every rank returns after the record has its place: whoever looks for it then finds it.

    Args:
        experiment: the run, with its method ready.
        trainer: its trainer.
        directory: where the record is written.
        preparation: what made the method ready.
        listeners: told of the record, see `fsbench.records.writing.write_files`.
        shown: numbers of episodes whose masks the listeners find in the journal, also where the run keeps none.

    Returns:
        The record on rank 0, None on the other ranks.

    Raises:
        ContractError: an answer follows from other episodes than its own.
    """
    data, options = experiment.data, experiment.options
    keep: Keep = options.keep_predictions if data.protocol.has_masks else "none"  # counts of images are the answers
    answered_by = _answering(experiment, trainer)
    asked = episodes_to_ask(answered_by.in_order(data.manifest.episodes), options.check_memory)
    journal = _open_journal(experiment, directory, preparation)
    done = journal.done(keep)
    alone = in_each_process(trainer, partial(_ask_alone, trainer, answered_by, asked)) if asked else Tally()
    left = [episode.index for episode in data.manifest.episodes if episode.index not in done]
    cost = _evaluate_left(
        experiment, trainer, answered_by, journal, left, _kept_by_episode(data, keep, {*shown, *asked})
    )

    def tell(listener: RecordListener) -> Listener:
        return lambda record: listener(record, journal)

    def record_results() -> Record:
        try:
            check_asked_alone(alone, journal, asked, options.name)
        except ContractError:
            journal.remove()  # answers that no test may have
            raise
        facts = _facts(experiment, trainer, preparation, cost, len(asked))
        frame, meaning = to_frame(journal.rows(), data.manifest), experiment.method.attention_meaning
        kept, told = journal.predictions(), map(tell, listeners)
        record = write_record(directory.path, answered_by.test, frame, facts, kept, keep, meaning, told)
        journal.remove()
        directory.publish()
        return record

    try:
        record = record_results() if trainer.is_global_zero else None
    except Exception:
        trainer.strategy.barrier("recorded")  # where the other ranks wait
        raise
    trainer.strategy.barrier("recorded")
    return record


def _answering(experiment: Experiment, trainer: L.Trainer) -> Answering[Test]:
    """Return the run's test with its method, which answers this process's share of the episodes."""
    data, method = experiment.data, experiment.method
    every = {episode.index for episode in data.manifest.episodes}

    def batches(numbers: Sequence[int]) -> Any:
        data.done = frozenset(every.difference(numbers))
        return data.test_dataloader()

    @contextmanager
    def ready(answering_method: Callable[[], Method]) -> Iterator[Answerer]:
        context = _get_ready(experiment, trainer)
        with answering(answering_method(), data, context) as answer:
            yield answer

    return Answering(
        method.registry_name,
        data.tested,
        lambda: ready(lambda: method),
        lambda: ready(lambda: fresh_copy(method)),
        batches,
        evaluation_order if data.protocol.has_masks else list,
    )


def _get_ready(experiment: Experiment, trainer: L.Trainer) -> Callable[[], AbstractContextManager[Any]]:
    """Put the method where it answers a test; return what makes the context of each batch's answers."""
    torch.set_num_threads(THREADS)  # some kernels sum in another order with another number
    precision = trainer.precision_plugin
    precision.convert_module(experiment.method)
    experiment.method.to(trainer.strategy.root_device)
    return precision.test_step_context


def _open_journal(experiment: Experiment, directory: RunDirectory, preparation: Preparation) -> Journal:
    """Return the journal of everything that the results follow from."""
    followed = [experiment.identity.as_json(), preparation.checkpoint_sha256, preparation.facts.get("calibration")]
    journal = Journal(directory.path / "evaluation", fingerprint(followed))
    for line in journal.damaged():
        log.warning("%s of the journal is cut off or damaged; its episode is evaluated again", line)
    return journal


def _ask_alone(trainer: L.Trainer, answered_by: Answering[Test], asked: Sequence[int]) -> Tally:
    """Ask episodes alone, each of a fresh copy of the method; every rank takes part, and gets all answers."""
    alone = ask_alone(answered_by, asked)
    if trainer.world_size == 1:
        return alone
    of_ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(of_ranks, alone)
    return Tally.joined(of_ranks)


def _kept_by_episode(data: DataModule, keep: Keep, shown: Collection[int]) -> Callable[[int], Keep]:
    """Return how much is kept of an episode's prediction: of those `shown` a mask at least, where there are masks."""
    least: Keep = "masks" if keep == "none" and data.protocol.has_masks else keep
    return lambda episode: least if episode in shown else keep


def _evaluate_left(
    experiment: Experiment,
    trainer: L.Trainer,
    answered_by: Answering[Test],
    journal: Journal,
    left: Sequence[int],
    keep: Callable[[int], Keep],
) -> EvaluationCost:
    """Evaluate the episodes that are left, each process its share of them; arguments are as of `evaluate_episodes`."""
    data = experiment.data
    meter = Meter(trainer.strategy.root_device)
    log.info("evaluation: %d of %d episodes are left", len(left), len(data.manifest.episodes))

    def show(batches: Any) -> Iterable[Any]:
        shows = trainer.is_global_zero and experiment.shows_progress
        return track(batches, "evaluation", "batch") if shows else batches

    def evaluate_share() -> None:
        # those of rank 0: an orphan of a killed run may still write to the journal
        numbers = trainer.strategy.broadcast(left)
        data.done = frozenset(episode.index for episode in data.manifest.episodes).difference(numbers)
        if data.trains_elsewhere:  # features are kept by names of images, which are unique in one data set alone
            experiment.method.backbone.cache.clear()
        evaluate_episodes(answered_by, numbers, journal, keep, show)

    kernels: set[str] = set()
    if left:
        with unordered_kernels() as kernels:
            in_each_process(trainer, evaluate_share)
        trainer.strategy.barrier("evaluated")
    return EvaluationCost(meter.seconds, meter.peak_mib_of_all_ranks(), len(left), kernels)


def _facts(
    experiment: Experiment, trainer: L.Trainer, preparation: Preparation, cost: EvaluationCost, asked: int
) -> RunFacts:
    """Return what is known of a run besides its counts.

    Args:
        experiment, trainer, preparation: see `evaluate`.
        cost: of the evaluation.
        asked: number of episodes that were asked alone as well.
    """
    data, method = experiment.data, experiment.method
    device = trainer.strategy.root_device
    made_in = {
        **provenance(PACKAGES, torch.cuda.get_device_name(device) if device.type == "cuda" else None),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        **feature_rounding(method),
        "unordered_kernels": sorted(cost.unordered_kernels),
        "plug_ins": plug_in_origins(experiment),
    }
    trained = (experiment.identity.training or {}).get("checkpoint_sha256")
    more: dict[str, Any] = {} if method.sees_supports else {"sees_supports": False}
    more |= {"beyond_authors_rule": beyond} if (beyond := experiment.beyond_authors_rule) else {}
    more |= {"asked_alone": asked} if asked else {}
    return RunFacts(
        id=experiment.folder.name,
        identity=experiment.identity,
        checkpoint_sha256=preparation.checkpoint_sha256 or trained,
        checkpoint_variant=experiment.checkpoint_variant,
        weights=Weights.model_validate(weights_origin(experiment)),
        told=_told(experiment),
        presence="predicted" if method.predicts_presence else data.protocol.counting.presence,
        remarks=_remarks(experiment),
        cost=Cost(
            trainable_parameters=method.num_trainable_parameters(data.test.way),
            total_parameters=method.num_parameters(data.test.way),
            evaluation_seconds=cost.seconds,
            episodes_per_second=cost.episodes / cost.seconds if cost.episodes else None,
            peak_mib=cost.peak_mib,
        ),
        **more,
        made=TrainingOutcome.model_validate(preparation.facts),
        provenance=Provenance.model_validate(made_in),
    )


def _told(experiment: Experiment) -> Told:
    """Return what the method is told of the test's classes."""
    data, method = experiment.data, experiment.method
    adaptation = method.needs.adaptation
    more = {} if adaptation is None else {"labelled_images": data.adaptation_images(adaptation).images_a_class}
    return Told(supervision=list(method.supervision), saw_test_classes=experiment.saw_test_classes, **more)


def _remarks(experiment: Experiment) -> list[str]:
    """Return what a reader of the scores must know: of the method, of its training's lists and of its classes."""
    data = experiment.data
    drew_from_lists = "base_lists" in (experiment.identity.training or {})
    seen = [
        f"trained on {dataset}, whose classes include {len(names)} of the test's: {', '.join(names[:10])}"
        + ", …" * (len(names) > 10)
        for dataset, names in experiment.seen_elsewhere.items()
    ]
    return [*experiment.method.record_notes(data), *(data.training_list_notes if drew_from_lists else ()), *seen]
