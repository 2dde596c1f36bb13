"""Evaluate an experiment's test episodes and write its record."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
import torch

from fsbench.base.errors import ContractError
from fsbench.base.files import fingerprint
from fsbench.base.progress import track
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
from fsbench.records.writing import write_record
from fsbench.runner.engine.callbacks import THREADS
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import feature_rounding
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.machine.process_group import in_each_process
from fsbench.runner.engine.origins import plug_in_origins, weights_origin
from fsbench.runner.engine.train import Preparation

log = logging.getLogger("fsbench")


RecordListener = Callable[[Journal, Record], None]
"""Called with a record that is complete except for `run.json`, after the journal that it was made from."""


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
    followed = [experiment.identity.as_json(), preparation.checkpoint_sha256, preparation.facts.get("calibration")]
    journal = Journal(directory.path / "evaluation", fingerprint(followed))
    for line in journal.damaged():
        log.warning("%s of the journal is damaged; its episode is evaluated again", line)
    done = journal.done(keep)
    alone = in_each_process(trainer, partial(_ask_alone, trainer, answered_by, asked)) if asked else Tally()
    left = [episode.index for episode in data.manifest.episodes if episode.index not in done]
    least: Keep = "masks" if keep == "none" and data.protocol.has_masks else keep  # of what is shown or compared
    needed = {*shown, *asked}
    cost, kernels = _evaluate_left(
        experiment, trainer, answered_by, journal, left, lambda episode: least if episode in needed else keep
    )

    def record_results() -> Record:
        try:
            check_asked_alone(alone, journal, asked, options.name)
        except ContractError:
            journal.remove()  # answers that no test may have
            raise
        facts = _facts(experiment, trainer, preparation, cost, kernels, len(asked))
        frame, meaning = to_frame(journal.rows(), data.manifest), experiment.method.attention_meaning
        told = [partial(listener, journal) for listener in listeners]
        kept = journal.predictions()
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
    data, method, precision = experiment.data, experiment.method, trainer.precision_plugin
    every = {episode.index for episode in data.manifest.episodes}

    def batches(numbers: Sequence[int]) -> Any:
        data.done = frozenset(every.difference(numbers))
        return data.test_dataloader()

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


def _ask_alone(trainer: L.Trainer, answered_by: Answering[Test], asked: Sequence[int]) -> Tally:
    """Ask episodes alone, each of a fresh copy of the method; every rank takes part, and gets all answers."""
    alone = ask_alone(answered_by, asked)
    if trainer.world_size == 1:
        return alone
    of_ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(of_ranks, alone)
    return Tally.joined(of_ranks)


def _evaluate_left(
    experiment: Experiment,
    trainer: L.Trainer,
    answered_by: Answering[Test],
    journal: Journal,
    left: Sequence[int],
    keep: Callable[[int], Keep],
) -> tuple[Cost, set[str]]:
    """Evaluate the episodes that are left, each process its share of them; arguments are as of `evaluate_episodes`.

    Returns:
        The cost of this start's evaluation, and the kernels without a fixed order that it took.
    """
    data, method = experiment.data, experiment.method
    meter = Meter(trainer.strategy.root_device)
    log.info("evaluation: %d of %d episodes are left", len(left), len(data.manifest.episodes))

    def show(batches: Any) -> Iterable[Any]:
        is_shown = trainer.is_global_zero and experiment.trainer_settings["enable_progress_bar"] is not False
        return track(batches, "evaluation", "batch") if is_shown else batches

    def evaluate_share() -> None:
        # those of rank 0: an orphan of a killed run may still write to the journal
        numbers = trainer.strategy.broadcast(left)
        data.done = frozenset(episode.index for episode in data.manifest.episodes).difference(numbers)
        if data.trains_elsewhere:  # features are kept by names of images, which are unique in one data set alone
            method.backbone.cache.clear()
        evaluate_episodes(answered_by, numbers, journal, keep, show)

    kernels: set[str] = set()
    if left:
        with unordered_kernels() as kernels:
            in_each_process(trainer, evaluate_share)
        trainer.strategy.barrier("evaluated")
    seconds, peak_mib = meter.seconds, meter.peak_mib_of_all_ranks()
    cost = Cost(
        trainable_parameters=method.num_trainable_parameters(data.test.way),
        total_parameters=method.num_parameters(data.test.way),
        evaluation_seconds=seconds,
        episodes_per_second=len(left) / seconds if left else None,
        peak_mib=peak_mib,
    )
    return cost, kernels


def _facts(
    experiment: Experiment,
    trainer: L.Trainer,
    preparation: Preparation,
    cost: Cost,
    kernels: set[str],
    asked: int,
) -> RunFacts:
    """Return what is known of a run besides its counts.

    Args:
        experiment, trainer, preparation: see `evaluate`.
        cost, kernels: of the evaluation, see `_evaluate_left`.
        asked: number of episodes that were asked alone as well.
    """
    data, method = experiment.data, experiment.method
    device = trainer.strategy.root_device
    made_in = {
        **provenance(PACKAGES, torch.cuda.get_device_name(device) if device.type == "cuda" else None),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        **feature_rounding(method),
        "unordered_kernels": sorted(kernels),
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
        cost=cost,
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
