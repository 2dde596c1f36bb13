"""Evaluate an experiment's test episodes and write its record."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import lightning as L
import torch

from fsbench.base.errors import ContractError
from fsbench.base.files import fingerprint
from fsbench.base.progress import track
from fsbench.core.datamodule import DataModule
from fsbench.core.evaluation import answering, fresh_copy
from fsbench.data.episodes.evaluation_order import evaluation_order
from fsbench.protocols.evaluation import Answerer, evaluate_batches
from fsbench.protocols.reading import protocol_of
from fsbench.records.asked_alone import Tally, ask_alone, check_asked_alone, episodes_to_ask
from fsbench.records.counts import hashes, official_rows, to_frame
from fsbench.records.journal import Journal
from fsbench.records.predictions import Keep, write_predictions
from fsbench.records.record import Record, write_record
from fsbench.records.run import Cost, KeptPredictions, Provenance, Run, Told, TrainingOutcome, Weights
from fsbench.runner.engine.callbacks import THREADS
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import feature_rounding
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.plug_in_origins import plug_in_origins
from fsbench.runner.engine.processes import in_each_process
from fsbench.runner.engine.provenance import provenance
from fsbench.runner.engine.train import Preparation
from fsbench.runner.engine.training_facts import weights_origin
from fsbench.scores.confusion import FAILED

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("fsbench")


class RecordListener(Protocol):
    """A function that is told of a record that lacks nothing but `run.json`, and of the journal it was made from."""

    def __call__(self, record: Record, journal: Journal) -> None: ...


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
    folder: Path,
    preparation: Preparation,
    listeners: Sequence[RecordListener] = (),
    shown: Collection[int] = (),
) -> Record | None:
    """Evaluate the episodes that are not done yet; rank 0 merges all ranks' journals into the record.

    Args:
        experiment: the run, with its method ready.
        trainer: its trainer.
        folder: where the record is written.
        preparation: what made the method ready.
        listeners: told of the record, see `fsbench.records.record.write_record`.
        shown: numbers of episodes whose masks the listeners find in the journal, also where the run keeps none.

    Returns:
        The record on rank 0, None on the other ranks.

    Raises:
        ContractError: an answer follows from other episodes than its own.
    """
    journal = _open_journal(experiment, folder, preparation)
    keep, asked = _kept_predictions(experiment), _episodes_to_ask(experiment)
    alone = in_each_process(trainer, partial(_ask_alone, experiment, trainer, asked)) if asked else Tally()
    cost = _test(experiment, trainer, journal, _kept_by_episode(experiment.data, keep, {*shown, *asked}))
    if trainer.global_rank != 0:
        return None
    try:
        check_asked_alone(alone, journal, asked, experiment.options.name)
    except ContractError:
        journal.remove()  # answers that no test may have
        raise
    return _write_results(experiment, trainer, folder, preparation, journal, cost, listeners)


def _open_journal(experiment: Experiment, folder: Path, preparation: Preparation) -> Journal:
    """Return the journal of everything that the results follow from, and tell the data which episodes it has."""
    followed = [experiment.identity.as_json(), preparation.checkpoint_sha256, preparation.facts.get("calibration")]
    journal = Journal(folder / "evaluation", fingerprint(followed))
    experiment.data.done = journal.done(_kept_predictions(experiment))
    for line in journal.damaged():
        log.warning("%s of the journal is cut off or damaged; %s", line, _consequence(line))
    return journal


def _episodes_to_ask(experiment: Experiment) -> list[int]:
    """Return the numbers of the episodes that are asked alone as well, in this order."""
    episodes = experiment.data.manifest.episodes
    has_masks = protocol_of(experiment.data.manifest.header).has_masks
    return episodes_to_ask(evaluation_order(episodes) if has_masks else episodes, experiment.options.check_memory)


def _ask_alone(experiment: Experiment, trainer: L.Trainer, asked: Sequence[int]) -> Tally:
    """Ask episodes alone, each of a fresh copy of the method; every rank takes part, and gets all answers."""
    data, context = experiment.data, _get_ready(experiment, trainer)
    done, every = data.done, {episode.index for episode in data.manifest.episodes}

    def batches(numbers: Sequence[int]) -> Iterable[Any]:
        data.done = frozenset(every - set(numbers))
        return data.test_dataloader()

    def fresh() -> AbstractContextManager[Answerer]:
        return answering(fresh_copy(experiment.method), data, context)

    alone = ask_alone(asked, batches, fresh, data.tested, experiment.method.registry_name)
    data.done = done
    if trainer.world_size == 1:
        return alone
    of_ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(of_ranks, alone)
    return Tally.joined(of_ranks)


def _write_results(
    experiment: Experiment,
    trainer: L.Trainer,
    folder: Path,
    preparation: Preparation,
    journal: Journal,
    cost: EvaluationCost,
    listeners: Sequence[RecordListener] = (),
) -> Record:
    """Write the record of a whole journal, and remove the journal; arguments are as of `evaluate`."""
    manifest, meaning = experiment.data.manifest, experiment.method.attention_meaning
    frame = to_frame(journal.rows(), manifest)
    manifest.write(folder / "manifest.jsonl")
    keep = _kept_predictions(experiment)
    predictions = write_predictions(folder, journal.predictions(), frame, keep, meaning)
    content = _finished_run(experiment, trainer, preparation, cost, frame, predictions)
    record = write_record(folder, content, frame, [partial(listener, journal=journal) for listener in listeners])
    for path in journal.remove():
        log.warning("the damaged file of the journal is kept as %s", path)
    return record


def _kept_predictions(experiment: Experiment) -> Keep:
    """Return how much of every prediction the run keeps; nothing of classification, whose counts are its answers."""
    keep: Keep = experiment.options.keep_predictions
    return keep if protocol_of(experiment.data.manifest.header).has_masks else "none"


def _consequence(line: str) -> str:
    """Return what follows from a damaged line of the journal."""
    if line.endswith(" line 1"):
        return "it is the header: sound lines below it count, and the file is kept under the name damaged-…"
    return "its episode is evaluated again"


def _kept_by_episode(data: DataModule, keep: Keep, shown: Collection[int]) -> Callable[[int], Keep] | None:
    """Return how much is kept of an episode's prediction: a mask at least of those `shown`; None without masks."""
    least: Keep = "masks" if keep == "none" else keep
    has_masks = protocol_of(data.manifest.header).has_masks
    return (lambda episode: least if episode in shown else keep) if has_masks else None


def _test(
    experiment: Experiment, trainer: L.Trainer, journal: Journal, keep: Callable[[int], Keep] | None
) -> EvaluationCost:
    """Evaluate what the journal lacks, each result written to it as it comes."""
    data = experiment.data
    meter = Meter(trainer.strategy.root_device)
    left = len(data.manifest.episodes) - len(data.done)
    log.info("evaluation: %d of %d episodes are left", left, len(data.manifest.episodes))
    kernels: set[str] = set()
    if left:
        with unordered_kernels() as kernels:
            in_each_process(trainer, partial(_evaluate_share, experiment, trainer, journal, keep))
        trainer.strategy.barrier("evaluated")
    return EvaluationCost(meter.seconds, meter.peak_mib_of_all_ranks(), left, kernels)


def _evaluate_share(
    experiment: Experiment, trainer: L.Trainer, journal: Journal, keep: Callable[[int], Keep] | None
) -> None:
    """Evaluate this process's share of the episodes that are left."""
    data, method = experiment.data, experiment.method
    # those of rank 0: an orphan of a killed run may still write to the journal
    data.done = trainer.strategy.broadcast(data.done)
    context = _get_ready(experiment, trainer)
    if data.trains_elsewhere:  # features are kept by names of images, which are unique in one data set alone
        method.backbone.cache.clear()
    with answering(method, data, context) as answerer, closing(journal.open()) as writer:
        add = writer.add if keep is None else partial(writer.add_with_predictions, keep=keep)
        shows = trainer.is_global_zero and experiment.shows_progress
        batches = track(data.test_dataloader(), "evaluation", "batch") if shows else data.test_dataloader()
        evaluate_batches(batches, data.tested, answerer, add, method.registry_name)


def _get_ready(experiment: Experiment, trainer: L.Trainer) -> Callable[[], AbstractContextManager[Any]]:
    """Put the method where it answers a test; return what makes the context of each batch's answers."""
    torch.set_num_threads(THREADS)  # some kernels sum in another order with another number
    precision = trainer.precision_plugin
    precision.convert_module(experiment.method)
    experiment.method.to(trainer.strategy.root_device)
    return precision.test_step_context


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


def _finished_run(
    experiment: Experiment,
    trainer: L.Trainer,
    preparation: Preparation,
    cost: EvaluationCost,
    frame: "pl.DataFrame",
    predictions: KeptPredictions | None,
) -> Run:
    """Return the content of `run.json`.

    Args:
        experiment, trainer, preparation: see `evaluate`.
        cost: of the evaluation.
        frame: the count table.
        predictions: entry about the stored predictions, if there are any.
    """
    data, method, header = experiment.data, experiment.method, experiment.data.manifest.header
    scores = protocol_of(header).statistics(official_rows(frame), header).scores()
    tested = preparation.checkpoint_sha256 or (experiment.identity.training or {}).get("checkpoint_sha256")
    made_in = {
        **provenance(trainer),
        **feature_rounding(method),
        "unordered_kernels": sorted(cost.unordered_kernels),
        "plug_ins": plug_in_origins(experiment),
    }
    failed = frame.filter(frame[FAILED])["episode"].n_unique() if FAILED in frame.columns else 0
    more: dict[str, Any] = {} if method.sees_supports else {"sees_supports": False}
    more |= {"beyond_authors_rule": beyond} if (beyond := experiment.beyond_authors_rule) else {}
    more |= {"predictions": predictions} if predictions else {}
    more |= {"asked_alone": len(asked)} if (asked := _episodes_to_ask(experiment)) else {}
    return Run(
        id=experiment.folder.name,
        identity=experiment.identity,
        checkpoint_sha256=tested,
        checkpoint_variant=experiment.checkpoint_variant,
        weights=Weights.model_validate(weights_origin(experiment)),
        told=_told(experiment),
        presence="predicted" if method.predicts_presence else data.protocol.counting.presence,
        scores=scores,
        augmented_episodes=sum(episode.augmented for episode in data.manifest.episodes),
        failed_episodes=failed,
        dropped_classes=[data.dataset.class_names[n - 1] for n in header.dropped_classes],
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
        **hashes(frame),
    )
