"""HMNet's training: both optimisers, half precision, two processes."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.weights.files import state_digest
from tests.methods.hmnet.small import SMALL, on_pspnet, on_vit
from tests.methods.small import data, fit, without_dropout
from tests.new_process import in_new_process


def test_a_training_of_both_optimisers(blocks_folder):
    """Everything that has a use moves, SGD's rate reaches 0 with the last step, AdamW's stays, the rest is frozen."""
    method, module = on_pspnet(), data(blocks_folder)
    before = {name: p.clone() for name, p in method.named_parameters()}
    frozen = method.backbone.digest
    trainer = fit(method, module)
    sgd, adamw = trainer.optimizers
    assert {g["lr"] for g in sgd.param_groups} == {0.0} and {g["lr"] for g in adamw.param_groups} == {6e-5}
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in method.named_parameters() if p.requires_grad}
    assert method.base_classes == [4, 5, 6] and state_digest(method.backbone.state) == frozen
    assert trainer.callback_metrics["train/loss"] == pytest.approx(
        float(trainer.callback_metrics["train/main"] + trainer.callback_metrics["train/dice"]), abs=1e-5
    )


@pytest.mark.slow(3)
def test_a_training_in_mixed_precision(blocks_folder):
    """By Lightning's setting, with both optimisers: single-precision weights that move, a loss near the other."""
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        method = without_dropout(on_vit())
        before = {name: p.clone() for name, p in method.named_parameters()}
        trainer = fit(method, data(blocks_folder, 64), precision=precision)
        losses.append(float(trainer.callback_metrics["train/loss"]))
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert moved == {name for name, p in method.named_parameters() if p.requires_grad}
        assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]


class Gradients(L.Callback):
    """Writes the gradients of the first step, of each process."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        file = self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt"
        if trainer.global_step and not file.exists():
            torch.save({name: p.grad for name, p in method.named_parameters() if p.grad is not None}, file)


@pytest.mark.slow(2)
def test_gradients_in_half_precision_are_scaled_back_alike(blocks_folder, tmp_path):
    """Both optimisers step with the gradients themselves, though the scale doubles after every training step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    found = []
    for plugins in ([], [MixedPrecision("16-mixed", "cpu", scaler)]):
        method = without_dropout(on_vit())
        fit(method, data(blocks_folder, 64), 2, [Gradients(tmp_path)], plugins=plugins)
        found.append(torch.load(tmp_path / "1-0.pt", weights_only=True))
    single, half = found
    for part in ("head.mamba.", "head.cls_meta."):
        expected, gradient = (torch.cat([g[n].flatten() for n in g if n.startswith(part)]) for g in (single, half))
        assert (gradient - expected).norm() < 0.02 * expected.norm()
    assert scaler.get_scale() == 4096  # two steps


class WithoutVoid(HMNet):
    """Its loss is a mean over equally many pixels of each episode, and so of each process."""

    def batch_loss(self, batch):
        for label_map in batch.known_truth().label_maps:
            label_map[label_map == 255] = 0
        return super().batch_loss(batch)


@pytest.mark.slow(10)
def test_two_processes_train_as_one(blocks_folder, tmp_path):
    """Real processes with two episodes each, one after the other, get the gradients of one process with all four, at
    once or one by one; a second step shows that none waits for a gradient that never comes."""
    in_new_process(check_gradients, blocks_folder, tmp_path)


def check_gradients(blocks_folder, tmp_path):
    for name, world, micro in (("whole", 1, None), ("parts", 1, 1), ("two", 2, 1)):
        torch.manual_seed(0)
        (folder := tmp_path / name).mkdir()
        method = without_dropout(WithoutVoid(BackboneConfig("demo"), **SMALL, bam=False))
        module = data(blocks_folder, 64, batch_size=4, micro_batch=micro)
        strategy = "ddp_fork" if world > 1 else "auto"
        micro_batches = 2 * module.step_division(world).accumulation
        trainer = fit(method, module, micro_batches, [Gradients(folder)], devices=world, strategy=strategy)
        assert world > 1 or trainer.global_step == 2 * 2  # steps of two optimisers
    names = ("whole/1-0", "parts/1-0", "two/2-0", "two/2-1")
    alone, *others = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in names)
    for found in others:
        assert found.keys() == alone.keys()
        for name, gradient in alone.items():
            assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1e-3), name
