"""Images of a training batch that go through the backbone together give what each gives alone, up to rounding."""

import pytest
import torch

from fsbench.core import images_together
from fsbench.data.batch import collate
from fsbench.datamodules.datasets.folder import Folder
from fsbench.methods.emat import EMAT
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.methods.modules.stages import FrozenStages
from fsbench.methods.pfenet import PFENet
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS, FrozenPyramid, FrozenViT
from tests.data_modules import episodic
from tests.fsbench.networks.backbones.test_pyramid import SMALL, SWIN


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    monkeypatch.setitem(PYRAMIDS, "small_swin", SWIN)


@pytest.mark.parametrize(
    ("kind", "name", "side"),
    [
        (FrozenViT, "demo", 64),
        (FrozenPyramid, "demo", 64),
        (FrozenPyramid, "small", 64),
        (FrozenPyramid, "small_swin", 64),
        (FrozenStages, "demo", 64),
        (FrozenStages, "small", 64),
        pytest.param(FrozenTrunk, "dilated_resnet50", 17, marks=pytest.mark.slow(2)),
    ],
)
def test_every_kind_of_features(kind, name, side):
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    backbone = kind(BackboneConfig(name, "random"))
    together = backbone.encode_together(images)
    assert len(together) == 3
    for image, features in zip(images, together, strict=True):
        alone = backbone.encode(image)
        for one, other in zip(*((f,) if isinstance(f, torch.Tensor) else f for f in (features, alone)), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@pytest.fixture
def batch(blocks_folder):
    data = episodic(Folder(str(blocks_folder)), image_size=48, episodes=6, batch_size=3, workers=0)
    batch = collate(list(data.test_dataloader()))
    batch.truth.label_maps = [torch.zeros(48, 48, dtype=torch.uint8).fill_(n % 2) for n in range(len(batch))]
    return batch


class Passes:
    """The number of images in each pass of a backbone."""

    def __init__(self, backbone, monkeypatch):
        self.images = []
        self.monkeypatch, self.backbone = monkeypatch, backbone
        self.count("_features_of_batch")

    def count(self, name):
        call = getattr(self.backbone, name)
        self.monkeypatch.setattr(
            self.backbone, name, lambda model, images: self.images.append(len(images)) or call(model, images)
        )


def train(method, batch):
    method.zero_grad()
    loss = method.training_step(batch, 0)
    loss.backward()
    return [loss.detach(), *(p.grad for p in method.parameters() if p.grad is not None)]


def test_a_training_step_on_a_gpu_has_few_passes_and_the_same_gradients(batch, monkeypatch):
    torch.manual_seed(0)
    method = EMAT(BackboneConfig("demo"), support_side=8)
    monkeypatch.setattr(EMAT, "log_dict", lambda *given, **options: None)
    monkeypatch.setattr(batch, "recurs", False)
    passes = Passes(method.backbone, monkeypatch)
    assert not method.encodes_together  # on a CPU
    expected = train(method, batch)
    uses = len(passes.images)
    assert passes.images == [1] * uses and uses >= len(batch.image_names)
    passes.images.clear()
    monkeypatch.setattr(EMAT, "encodes_together", True)
    monkeypatch.setattr(images_together, "TOGETHER", 4)
    found = train(method, batch)
    images = len(batch.image_names)
    again = uses - images  # images that are queries and supports, whose features nothing keeps
    assert sum(passes.images) == uses and len(passes.images) == -(-images // 4) + again
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert method._together is None


@pytest.mark.parametrize(
    ("method", "together"),
    [
        (lambda: EMAT(BackboneConfig("demo"), support_side=8), True),
        (lambda: Prototype(BackboneConfig("demo")), False),
        (lambda: PFENet(BackboneConfig("dilated_resnet50", "random"), backbone_bn="eval"), True),
    ],
)
def test_images_go_together_where_features_in_training_are_the_backbones(method, together, monkeypatch):
    """A method whose `encode_image` is its own is asked for each image, unless it says that it need not be."""
    built = method()
    monkeypatch.setattr(type(built), "device", torch.device("cuda"))
    assert built.encodes_together == together and not built.eval().encodes_together


def test_images_that_are_kept_are_not_encoded_again(batch, monkeypatch):
    method = EMAT(BackboneConfig("demo"), support_side=8)
    monkeypatch.setattr(EMAT, "log_dict", lambda *given, **options: None)
    monkeypatch.setattr(EMAT, "encodes_together", True)
    passes = Passes(method.backbone, monkeypatch)
    method.features(batch, batch.query[:1])  # before the step, alone
    assert passes.images == [1]
    train(method, batch)
    assert passes.images[1] == len(batch.image_names) - 1
    passes.images.clear()
    train(method, batch)
    assert passes.images == []


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])])
def test_an_evaluation_does_not_depend_on_the_batches_of_the_training_before(batch, monkeypatch, device):
    torch.manual_seed(0)
    method = EMAT(BackboneConfig("demo"), support_side=8).to(device)
    monkeypatch.setattr(EMAT, "log_dict", lambda *given, **options: None)
    monkeypatch.setattr(EMAT, "encodes_together", True)
    # so that the features of one image depend on the others by more than rounding, on any machine
    each = method.backbone._features_of_batch
    monkeypatch.setattr(
        method.backbone, "_features_of_batch", lambda model, images: [f + len(images) for f in each(model, images)]
    )
    batch = batch.to(device)
    episode = next(batch.split()).without_truth()

    def logits():
        with torch.inference_mode():
            return method.eval().predict_shots(episode).logits

    alone = logits()
    assert torch.equal(logits(), alone)
    method.backbone.cache.clear()
    method.train().training_step(batch, 0)
    assert torch.equal(logits(), alone)
    passes = Passes(method.backbone, monkeypatch)
    assert torch.equal(logits(), alone) and passes.images == []  # what was encoded alone is kept
