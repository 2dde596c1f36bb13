"""HMNet's weights under other names: authors' checkpoints both ways, PSPNets, ImageNet weights."""

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.core.released_format import WRITTEN_BY
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.methods.modules.pspnet_weights import from_imagenet, to_hmnet_names
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.engine.checkpoint import TRAINED_WITH, convert, load_checkpoint
from tests.methods.hmnet.small import SMALL, on_pspnet
from tests.methods.small import data, episode


@pytest.mark.slow(5)
def test_authors_checkpoints_and_back(tmp_path):
    """Ours -> the authors' (with the PSPNet) -> ours: the same weights, and both load."""
    method = on_pspnet(shots=5)
    weights = tmp_path / "pspnet.pth"
    torch.save(method.backbone.state, weights)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "ours.ckpt")
    forms = {"hmnet": HMNet.released_format}
    assert convert(tmp_path / "ours.ckpt", tmp_path / "theirs.pth", weights, forms) == "ours to authors'"
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)["state_dict"]
    assert next(iter(theirs)) == "module.layer0.0.weight" and "module.mamba.norm.weight" in theirs
    assert convert(tmp_path / "theirs.pth", tmp_path / "again.ckpt", None, forms) == "authors' to ours"
    again = torch.load(tmp_path / "again.ckpt", weights_only=True)
    assert again["state_dict"].keys() == method.state_dict().keys()
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in again["state_dict"].items())
    assert again[WRITTEN_BY]["backbone_sha256"] == method.backbone.digest
    other = HMNet(BackboneConfig("pspnet_vgg16", "random:1"), **SMALL, shots=5)
    bare = {key.removeprefix("module."): value for key, value in theirs.items()}
    torch.save({"epoch": 3, "state_dict": bare, "optimizer": {}}, tmp_path / "bare.pth")  # without the wrapper
    load_checkpoint(other, tmp_path / "bare.pth")
    assert other.backbone.digest == method.backbone.digest
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in other.state_dict().items())


@pytest.mark.slow(3)
@pytest.mark.parametrize("authors", [False, True])
def test_the_meta_learner_alone_of_a_checkpoint_with_the_ensemble(blocks_folder, tmp_path, authors):
    """Only the meta logits that the ensemble starts from are read; the other settings must be the same."""
    method = on_pspnet(shots=2)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    if authors:
        checkpoint = HMNet.released_format.join(method.state_dict(), method.backbone.state)
    torch.save(checkpoint, tmp_path / "bam.ckpt")
    alone = on_pspnet(bam=False)
    assert load_checkpoint(alone, tmp_path / "bam.ckpt")[TRAINED_WITH] == {"bam": True, "shots": 2}
    found = episode(data(blocks_folder, shot=2))
    inputs = (
        method.features(found, found.query),
        [
            (method.features(found, torch.tensor([row])), mask[None])
            for row, mask in zip(found.support[0, 0].tolist(), found.support_masks[0, 0], strict=True)
        ],
        method.base_logits,
    )
    with torch.no_grad():
        both, one = method.head(*inputs), alone.head(*inputs)
    assert torch.equal(one.logits, both.meta) and not torch.equal(one.logits, both.logits)
    with pytest.raises(CheckpointError, match=r"was trained with shots: 2; found shots: 1; give --model\.shots 2"):
        load_checkpoint(on_pspnet(), tmp_path / "bam.ckpt")
    if not authors:
        with pytest.raises(CheckpointError, match=r"was trained with .*'srm': 'recap'.*; expected .*'srm': 'basic'"):
            load_checkpoint(on_pspnet(bam=False, srm="basic"), tmp_path / "bam.ckpt")


def test_weights_of_a_pspnet_alone():
    """The authors' base learners: last layers cls.{0..4}, and everything twice under `encoder.`."""
    state = PSPNet("vgg16", 2).state_dict()
    alone = {"module." + k.replace("base_learner.2", "cls.4"): v for k, v in state.items()}
    alone |= {f"module.encoder.0.{k}": v for k, v in list(state.items())[:3]}
    assert to_hmnet_names(alone).keys() == state.keys()


def test_imagenet_weights_under_their_usual_names():
    own = {k: v for k, v in PSPNet("resnet50", 1).state_dict().items() if k.startswith("layer")}
    stem = {"layer0.0": "conv1", "layer0.1": "bn1", "layer0.3": "conv2", "layer0.4": "bn2"}
    stem |= {"layer0.6": "conv3", "layer0.7": "bn3"}
    usual = {
        stem.get(".".join(k.split(".")[:2]), ".".join(k.split(".")[:2])) + "." + k.split(".", 2)[2]: v
        for k, v in own.items()
    }
    found = from_imagenet("resnet50", usual | {"fc.weight": torch.zeros(2, 2)}, "weights")
    assert list(found) == list(own) and all(torch.equal(found[k], own[k]) for k in own)


@pytest.mark.slow(3)
def test_networks_of_other_libraries_give_the_same_features():
    import timm
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(1)
    image = torch.randn(1, 3, 64, 64)  # even sides: VGG's pools, which round up, are as others
    timms = timm.create_model("resnet50s").eval()
    resnet, vgg = PSPNet("resnet50", 1).eval(), PSPNet("vgg16", 1).eval()
    resnet.load_state_dict(from_imagenet("resnet50", timms.state_dict(), "weights"), strict=False)
    features = make_layers(cfgs["D"], batch_norm=True).eval()
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    vgg.load_state_dict(from_imagenet("vgg16", state, "weights"), strict=False)
    with torch.no_grad():
        stem = timms.maxpool(timms.act1(timms.bn1(timms.conv1(image))))
        before_dilation = timms.layer2(timms.layer1(stem))
        torch.testing.assert_close(resnet.trunk(image)[0], before_dilation)
        torch.testing.assert_close(vgg.trunk(image)[2], features[:43](image))
    with pytest.raises(CheckpointError, match=r"weights cannot be used with this model: .* keys missing"):
        from_imagenet("vgg16", {"features.0.weight": torch.zeros(64, 3, 3, 3)}, "weights")
