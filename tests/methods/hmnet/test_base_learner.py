"""The base learner: its training, its validation, its predictions, and HMNet on it."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fsbench.base.errors import SettingsError
from fsbench.data.batch import collate
from fsbench.datamodules.loading.distributed import TrainingBatches
from fsbench.datamodules.loading.items import whole_image
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.datamodules.loading.whole_images import image_truth
from fsbench.methods.hmnet.base_learner import BaseLearner
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.whole_images import WHOLE_IMAGES
from fsbench.runner.engine.answering import evaluate_batch
from tests.methods.hmnet.small import SMALL
from tests.methods.small import data, episode, fit


def test_the_base_learner_must_know_the_folds_classes(blocks_folder, tmp_path):
    with torch.random.fork_rng():
        state = PSPNet("vgg16", 5).state_dict()
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "five.pth")
    method = HMNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "five.pth")), **SMALL)
    assert method.backbone.classes == 5
    with pytest.raises(SettingsError, match="tells 5 classes apart, but the fold has 3 base classes"):
        fit(method, data(blocks_folder))


@pytest.mark.slow(6)
def test_the_chain_from_the_base_learner_to_hmnet(blocks_folder, tmp_path):
    """A PSPNet is trained on the base classes; its checkpoint is HMNet's backbone and knows its fold."""
    torch.manual_seed(0)
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    module = data(blocks_folder, training_items="images", validation="images")
    fit(learner, module, 1, [ModelCheckpoint(tmp_path, "base")])
    frozen = FrozenPSPNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "base.ckpt")))
    assert frozen.classes == 3 and frozen.trained_on["classes"] == ["yellow", "cyan", "magenta"]
    pixels = torch.randn(3, 33, 33)
    with torch.no_grad():
        expected = learner.eval().model(pixels[None])
    for found, value in zip(frozen.encode(pixels), expected, strict=True):
        torch.testing.assert_close(found, value[0])
    module.check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="was trained on fold 0 of blocks, whose base classes include yellow"):
        data(blocks_folder, fold=1).check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="classes is 15, but the fold has 3 base classes"):
        fit(BaseLearner(BackboneConfig("dilated_vgg16", "random")), module)


def test_the_base_learner_answers_with_what_it_sees_under_the_mask(blocks_folder, monkeypatch):
    """With logits that are given: class 2 under the support mask, so class 2 of the query."""
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    found = episode(data(blocks_folder))
    mask = torch.nn.functional.interpolate(found.support_masks[0, 0, :, None].float(), (33, 33))[0, 0] > 0
    support, query = torch.zeros(4, 33, 33), torch.zeros(4, 33, 33)
    support[2, mask], support[3, ~mask] = 1, 1
    query[2, :, :16], query[1, :, 16:] = 1, 1
    images = iter(2 * [query, support])
    monkeypatch.setattr(learner, "query", lambda image: next(images)[None])
    assert learner(found).foreground() is None  # which nobody keeps
    learner.keeps_soft_masks = True
    prediction = learner(found)
    answer = prediction.label_map
    assert (answer[:, 0] == 1).all() and (answer[:, -1] == 0).all()
    size = tuple(found.query_sizes[0].tolist())
    of_class = torch.nn.functional.interpolate(query[None, 2:3], size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(prediction.foreground(), of_class[0])  # that of the class, which need not be the largest


def learner_of_three(**options):
    return BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3, **options)


def images(folder, **options):
    return data(folder, training_items="images", validation="images", validation_episodes=None, **options)


@pytest.mark.slow(1)
def test_validation_is_the_base_miou_of_all_images(blocks_folder, monkeypatch):
    """With logits that follow the colours: intersections and unions by plain sums over all 24 images, without void."""
    module, learner = images(blocks_folder, eval_batch_size=5), learner_of_three()

    def by_colour(pixels):
        small = torch.nn.functional.avg_pool2d(pixels, 5, 4)
        return torch.cat([small.mean(1, keepdim=True) * 0 + 0.3, small], 1)

    monkeypatch.setattr(learner.model, "segment", by_colour)
    trainer = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", enable_checkpointing=False)
    found = trainer.validate(learner, module, verbose=False)[0]["val/mIoU"]
    inside, either = np.zeros(3), np.zeros(3)
    items = module.validation_batches().dataset
    assert len(items) == 24
    for i in range(24):
        truth = items[i].truth.label_maps[0]
        logits = by_colour(items[i].pixels(0)[None])
        answer = torch.nn.functional.interpolate(logits, (33, 33), mode="bilinear", align_corners=True)[0].argmax(0)
        for c in range(3):
            seen, shown = (answer == c + 1) & (truth != 255), truth == c + 1
            inside[c] += int((seen & shown).sum())
            either[c] += int((seen | shown).sum())
    assert (inside > 0).sum() > 1
    assert found == pytest.approx(100 * np.mean(inside / (either + 1e-10)), abs=1e-4)


def test_a_class_that_no_image_shows_counts_as_nothing(monkeypatch):
    learner = learner_of_three()
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[:4], labels[8] = 1, 255
    truths = [image_truth(i, labels, [4, 5, 6]) for i in range(2)]
    monkeypatch.setattr(learner.model, "segment", lambda pixels: torch.tensor([0.0, 1, 0, 0]).view(1, 4, 1, 1))
    batch = collate([whole_image(name, torch.zeros(3, 9, 9), one) for name, one in zip("ab", truths, strict=True)])
    results = evaluate_batch(learner, WHOLE_IMAGES, batch)
    assert [r.episode for r in results] == [0, 1] and results[0].present.tolist() == [True, False, False]
    tp, pred, gt = results[1].counts[1:, :3].T.tolist()
    assert (tp, pred, gt) == ([36, 0, 0], [72, 0, 0], [36, 0, 0])  # the void row is not scored


def test_rates_and_statistics_of_a_training(blocks_folder):
    """All weights and BatchNorms of the network move; the classifier ten times as fast; the last step has rate 0."""
    learner = learner_of_three(index_split=1, learning_rate=1e-3)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    rates = []

    class Rates(L.Callback):
        def on_before_optimizer_step(self, trainer, method, optimizer):
            rates.append([group["lr"] for group in optimizer.param_groups])

    fit(learner, images(blocks_folder, augmentation="base_learner"), 3, [Rates()])
    expected = [[base * (1 - step / 3) ** 0.9 for base in (1e-3, 1e-3, 1e-2)] for step in (1, 2, 3)]
    assert np.allclose(rates, expected, rtol=1e-12)
    moved = {name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(before)


@pytest.mark.slow(3)
def test_an_image_alone_has_no_statistics(blocks_folder):
    """Nor has an odd last one, which is left out as the authors' loader does: 24 images, 23 in a step."""
    odd = images(blocks_folder, batch_size=23)
    assert [len(places) for places in odd.training_batches().batch_sampler] == [23, 1]
    learner = learner_of_three()
    learner.loss = lambda batch: {"loss": sum(p.sum() for p in learner.model.cls.parameters()) * 0}
    with pytest.raises(SettingsError, match="BatchNorm has no statistics of a single image, and one was left"):
        fit(learner, odd)
    assert fit(learner, images(blocks_folder, batch_size=23, drop_last=True)).global_step == 1
    with pytest.raises(SettingsError, match="learns from images"):
        fit(learner_of_three(), data(blocks_folder))


def test_the_papers_steps():
    """Of 5953 and 82081 images, on four processes with three each (hmnet.md §2.4.4)."""
    for length, steps in ((5953, 496), (82081, 6840)):
        for processes in (1, 2, 4):
            batches = TrainingBatches(length, 0, StepDivision(12, processes), fill_to=4, drop_last=True)
            assert len(batches) == steps and {len(places) for places in batches} == {12 // processes}
