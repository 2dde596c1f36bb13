"""ALPNet: prototypes and their mean, first weights, skipped steps, checkpoints."""

import logging
from dataclasses import replace

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch, collate
from fsbench.methods import alpnet
from fsbench.methods.alpnet import ALPNet, DeepLabNet, Prototypes, local_prototypes, logits_by, normalised, score
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.weights.table import WeightFile
from fsbench.runner.contract.episodes import segmentation_episode

SIDE = 128


@pytest.fixture
def small(monkeypatch):
    """small(**settings) -> the method on a DeepLab of four blocks with random weights."""
    monkeypatch.setitem(alpnet.NETWORKS, "small", DeepLabNet((1, 1, 1, 1), WeightFile("none.pth")))

    def build(**settings: float) -> ALPNet:
        torch.manual_seed(0)
        return ALPNet(BackboneConfig("small", "random:3"), **settings)

    return build


def batch(*numbers: int, shots: int = 1) -> EpisodeBatch:
    return collate([segmentation_episode(number, 0, 1, shots, SIDE, training=True) for number in numbers])


def covered(episodes: EpisodeBatch) -> EpisodeBatch:
    """Return the episodes with every pixel of their supports labelled as the class: no support has background."""
    return replace(episodes, support_labels=torch.ones_like(episodes.support_labels))


def test_a_score_is_the_mean_of_similarities_weighted_by_their_softmax():
    query, prototypes = torch.randn(1, 3, 2, 2).double(), torch.randn(4, 3).double()
    for y in range(2):
        for x in range(2):
            similar = torch.stack([20 * torch.cosine_similarity(query[0, :, y, x], p, dim=0) for p in prototypes])
            weights = similar.exp() / similar.exp().sum()
            assert torch.isclose(score(query, prototypes)[0, y, x], (weights * similar).sum())


def test_a_window_counts_above_the_threshold_and_takes_all_of_its_features():
    features = torch.arange(16.0).view(1, 1, 4, 4)
    masks = torch.zeros(1, 4, 4)
    masks[0, :2, :2] = 1
    masks[0, :2, 2:] = 0.95  # exactly the threshold
    masks[0, 2:, :2] = 0.96
    assert local_prototypes(features, masks, 2).flatten().tolist() == [2.5, 10.5]


@pytest.mark.parametrize(("side", "number"), [(3, 1), (4, 1 + 4)])
def test_a_foreground_below_a_window_of_four_has_one_prototype(side, number):
    features, foreground = torch.randn(1, 5, 8, 8), torch.zeros(1, 8, 8)
    foreground[0, :side, :side] = 1
    found = Prototypes.of(features, 1 - foreground, foreground, window=2)
    assert len(found.foreground) == number  # the global one behind the local ones


def test_a_support_without_background_is_answered_all_the_same(small):
    method = small().eval()
    with torch.inference_mode():
        (answer,) = method.answer_batch(covered(batch(1)).without_truth())
    assert answer.label_map.shape == (SIDE, SIDE)
    with pytest.raises(alpnet.NoPrototypeError):
        logits_by(torch.randn(1, 5, 8, 8), Prototypes(torch.zeros(0, 5), torch.zeros(1, 5)))


def test_photos_are_normalised_by_themselves_and_slices_stay():
    photo = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    values = normalised(photo)
    assert torch.allclose(values.mean((1, 2, 3)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(values.std((1, 2, 3), correction=0), torch.ones(2))
    assert normalised(torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)).abs().max() == 0
    assert normalised(values) is values


def test_the_network_begins_with_the_weights_of_its_file(small):
    method = small()
    own, first = method.encoder.state_dict(), method.backbone.state
    assert all(torch.equal(own[name], value) for name, value in first.items() if name.startswith("backbone."))
    assert torch.equal(own["aspp_out.1.weight"], first["classifier.1.weight"])
    unlearned = {name.split(".")[1] for name, p in method.named_parameters() if not p.requires_grad}
    assert unlearned == {"asppconv", "aspp_out"}
    with pytest.raises(SettingsError, match="'resnet50' cannot be learned by ALPNet; expected deeplabv3_resnet101"):
        ALPNet(BackboneConfig("resnet50", "random"))


def test_a_step_is_the_mean_of_its_episodes_which_are_normalised_one_by_one(small):
    method = small().train()
    alone = [method.batch_loss(batch(number))["loss"] for number in (0, 4)]
    assert torch.isclose(method.batch_loss(batch(0, 4))["loss"], torch.stack(alone).mean(), rtol=1e-5)
    both = batch(0, 4)
    mixed = replace(both, support_labels=both.support_labels.index_fill(0, torch.tensor(1), 1))
    assert torch.isclose(method.batch_loss(mixed)["loss"], alone[0], rtol=1e-5)  # the second teaches nothing


@pytest.mark.slow(1)
def test_a_training_takes_several_shots(small):
    losses = small().train().batch_loss(batch(0, shots=3))
    assert torch.isclose(losses["loss"], losses["query"] + losses["alignment"])


class Given(L.LightningDataModule):
    def __init__(self, items):
        super().__init__()
        self.train_dataloader = lambda: items


class Steps(L.Callback):
    """Keeps the state after each step: weights, statistics and the rate."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer, module, *_):
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.slow(2)
def test_a_step_without_background_leaves_weights_and_rate_and_is_said(small, caplog):
    method, steps = small(decay_every=1), Steps()
    items = DataLoader([batch(0), covered(batch(1)), batch(2)], batch_size=None)
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, callbacks=[steps],
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "fsbench"):
        trainer.fit(method, datamodule=Given(items))
    assert [line for line in caplog.messages if "skipped" in line] == [
        "step 2 is skipped: no window of background to compare with"
    ]
    assert steps.rates == pytest.approx([1e-3 * 0.95, 1e-3 * 0.95, 1e-3 * 0.95**2])
    first, skipped, last = steps.states
    weight, mean = "encoder.backbone.conv1.weight", "encoder.backbone.bn1.running_mean"
    assert torch.equal(first[weight], skipped[weight]) and not torch.equal(first[mean], skipped[mean])
    assert not torch.equal(skipped[weight], last[weight])


def test_checkpoints_have_the_authors_names(small):
    method = small()
    form, own = method.released_format, method.state_dict()
    assert {"encoder.backbone.layer4.0.conv2.weight", "encoder.aspp_out.0.project.1.running_var"} <= own.keys()
    learned, backbone = form.split(form.join(own, {}))
    assert learned.keys() == own.keys() and backbone == {}
    assert form.split({"layer0.0.weight": torch.zeros(1)}) is None
