"""Checks of training: gradients reach what is learned, a batch can be learned by heart, a checkpoint has what was."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor
from torch.utils.data import DataLoader

from fsbench.base.errors import CheckpointError, describe
from fsbench.core.method import Method
from fsbench.core.released_format import WRITTEN_BY
from fsbench.core.seeded_block import seed_torch
from fsbench.data.batch import EpisodeBatch, collate
from fsbench.data.dataset import VOID
from fsbench.networks.weights.files import read_checkpoint
from fsbench.runner.contract.episodes import training_batch
from fsbench.runner.contract.subject import NOISE, NotApplicableError, Subject, ViolationError, answer, require_same
from fsbench.runner.engine.checkpoint import AtomicCheckpointIO

FACTOR = 0.5
"""Share of its first loss that a batch's loss falls to."""
STEPS = 100
"""Steps within which it does."""
RATE = 2e-3
"""Rate of AdamW."""
EPISODES = 3
"""Episodes of the batch whose gradient is compared with those of its parts."""
ROUNDING = 1e-3
"""Norm of a difference between gradients, as a share of their norm, that rounding makes."""


def check_gradients(subject: Subject) -> str:
    """Check that every trainable parameter has a gradient, and no frozen one has.

    Returns a sentence on what was measured. Raises ViolationError if a parameter breaks this rule.
    """
    method = _build_for_training(subject)
    _loss(method, _batch(subject)).backward()
    named = dict(method.named_parameters())
    missing = [name for name, p in named.items() if p.requires_grad and p.grad is None]
    wild = [name for name, p in named.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    frozen = [name for name, p in named.items() if not p.requires_grad and p.grad is not None]
    network = method.backbone._model
    frozen += [f"backbone {n}" for n, p in network.named_parameters() if p.grad is not None] if network else []
    if missing:
        raise ViolationError(
            f"no gradient for {_shorten(missing)}",
            f"one for each of {len(named)} parameters",
            "use it in the loss, or freeze it with requires_grad_(False)",
        )
    if wild:
        raise ViolationError(f"NaN or infinity in the gradient of {_shorten(wild)}", "finite numbers", "mend the loss")
    if frozen:
        raise ViolationError(
            f"a gradient for the frozen {_shorten(frozen)}", "none", "encode with the frozen backbone under no_grad"
        )
    trained = [p for p in named.values() if p.requires_grad]
    zeros = sum(p.grad is not None and not bool(p.grad.any()) for p in trained)
    return (
        f"{len(trained)} trainable parameters ({sum(p.numel() for p in trained):,} numbers) have a gradient"
        + f", {zeros} of them one of zeros alone in this batch" * bool(zeros)
    )


def check_step_is_a_mean(subject: Subject) -> str:
    """Check that a batch's gradient is the mean of its parts' gradients, weighted by episodes, if the method says so.

    A run then leaves the division of a step out of its identity. One part is a single episode, one has `EPISODES` - 1.
    The first query has void pixels and the last does not show its class, so that a mean over the pixels or the shown
    classes of a batch is told from one over its episodes. Each part draws other random numbers, as in a run.

    Returns a sentence on what was measured. Raises ViolationError if the gradients differ by more than rounding.
    """
    method = _build_for_training(subject)
    if not method.step_is_a_mean:
        raise NotApplicableError("the method does not say step_is_a_mean = True")
    batch = training_batch(subject.seed, subject.training_shots, subject.size, EPISODES)
    truth = batch.known_truth()
    truth.label_maps[0][: subject.size // 3] = VOID
    truth.label_maps[-1].zero_()
    truth.presence[-1] = False
    episodes = [*batch.split()]
    whole = _gradient(method, batch, subject.seed)
    parts = [
        _gradient(method, collate(part), subject.seed + number) * len(part)
        for number, part in enumerate((episodes[:1], episodes[1:]), 1)
    ]
    distance = float((whole - sum(parts) / EPISODES).norm() / whole.norm().clamp(min=torch.finfo(whole.dtype).tiny))
    words = f"{distance:.1g} of a batch's gradient that the mean over its {EPISODES} episodes does not give"
    if not distance <= ROUNDING:
        raise ViolationError(
            words,
            f"at most {ROUNDING:g}, the size of rounding",
            "say step_is_a_mean = False, as dropout, batch normalisation and means over the pixels of a batch need it",
        )
    return f"{words} (at most {ROUNDING:g})"


def _gradient(method: Method, batch: EpisodeBatch, seed: int) -> Tensor:
    """Return the gradient of a training step in all trainable parameters, as one vector."""
    method.zero_grad()
    with seed_torch(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is logged without a Trainer
        output: Any = method.training_step(batch, 0)
    (output["loss"] if isinstance(output, Mapping) else output).backward()
    trained = [p for p in method.parameters() if p.requires_grad]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().double() for p in trained])


def check_overfit(subject: Subject) -> str:
    """Check that the loss on one batch falls to `FACTOR` times its first value within `STEPS` steps of AdamW.

    Returns a sentence on what was measured. Raises ViolationError if the loss stays higher.
    """
    method = _build_for_training(subject, noise=0.0)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], RATE, weight_decay=0.0)
    first = value = math.nan
    for step in range(STEPS + 1):
        with seed_torch(step):
            loss = _loss(method, _batch(subject))
        value = float(loss.detach())
        first = value if step == 0 else first
        if first <= 0:
            raise NotApplicableError(f"the first loss is {first:.4g}; a share of it is no goal unless it is positive")
        if value <= FACTOR * first and step:
            return (
                f"loss {first:.4g} before, {value:.4g} after {step} steps (expected: {FACTOR:g} times, {STEPS} steps)"
            )
        if not math.isfinite(value):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise ViolationError(
        f"loss {first:.4g} before and {value:.4g} after {step} steps on one batch",
        f"{FACTOR:g} times the first within {STEPS} steps",
        "look whether the loss sees the support and the query",
    )


def _build_for_training(subject: Subject, noise: float = NOISE) -> Method:
    """Build the method in training mode. Raises NotApplicableError for one that learns nothing between episodes."""
    if not (subject.method.learns and subject.segments):
        raise NotApplicableError("nothing is learned before the episodes (learns = False)")
    return subject.fresh(noise=noise).train()


def _batch(subject: Subject) -> EpisodeBatch:
    return training_batch(subject.seed, subject.training_shots, subject.size)


def _loss(method: Method, batch: EpisodeBatch) -> Tensor:
    losses = method.batch_loss(batch)  # type: ignore[operator]
    if "loss" not in losses or losses["loss"].ndim:
        shapes = {name: tuple(value.shape) for name, value in losses.items()}
        raise ViolationError(f"losses {shapes}", "an entry 'loss' of shape ()", "sum or average the loss")
    loss: Tensor = losses["loss"]
    return loss


def _shorten(names: list[str]) -> str:
    """Return the first names and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_checkpoint(subject: Subject) -> str:
    """Check that a checkpoint, loaded into a new object, gives the same predictions and the same `describe()`.

    The checkpoint is written by Lightning as in a run, with the states of optimisers, schedules and callbacks. If
    training the method needs more than batches, such as a data module, the checkpoint has only the weights.

    Returns:
        A sentence on what was measured.
    """
    saved, other, note = subject.method, subject.fresh(offset=1), ""
    trains = saved.learns and subject.segments
    with TemporaryDirectory() as folder:
        path = Path(folder) / "first.ckpt"
        if trains:
            saved = subject.fresh()
            try:
                _fit(saved, subject).save_checkpoint(path, weights_only=False)
            except CheckpointError:
                raise
            except Exception as error:
                saved, trains = subject.fresh(), False
                note = f"; without the states of a training, which needs more than batches ({describe(error)})"
        if not trains:
            content: dict[str, Any] = {"state_dict": saved.state_dict()}
            saved.on_save_checkpoint(content)
            AtomicCheckpointIO().save_checkpoint(content, path)
        read = read_checkpoint(path)
        if trains:
            _fit(other, subject, path)
    inside = [name for name in read["state_dict"] if name.startswith("backbone.")]
    if inside:
        raise ViolationError(
            f"{len(inside)} weights of the frozen backbone in the checkpoint, such as {inside[0]}",
            "what was learned alone",
            "do not register the frozen network as a module",
        )
    if other.describe() != read.get(WRITTEN_BY) or saved.describe() != other.describe():
        raise ViolationError(
            f"the description {read.get(WRITTEN_BY)} in the checkpoint, {other.describe()} of a new object",
            "the same",
            "let checkpoint_settings return the settings, and call super().on_save_checkpoint",
        )
    if not saved.learns:
        return "equal describe(); nothing is learned before the episodes, so nothing is loaded"
    if not trains:
        other.load_state_dict(read["state_dict"])
    for number in range(2):
        episode = subject.episode(50 + number)
        advice = "register every learned tensor as a parameter or a buffer"
        require_same(answer(saved, episode), answer(other, episode), "other answers after loading", advice)
    return f"{len(read['state_dict'])} tensors written and loaded; equal bits of 2 episodes; equal describe(){note}"


class _Batches(L.LightningDataModule):
    def __init__(self, batches: Any):
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=None)


def _fit(method: Method, subject: Subject, path: Path | None = None) -> L.Trainer:
    """Train for two steps, or load what such a training wrote to `path`; the method is in eval mode afterwards."""
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, plugins=[AtomicCheckpointIO(), LightningEnvironment()],
    )  # fmt: skip
    with seed_torch(subject.seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is validated
        trainer.fit(method.train(), datamodule=_Batches([_batch(subject)] * 2), ckpt_path=path)
    method.eval()
    return trainer
