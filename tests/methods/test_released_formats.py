"""Checkpoints as the authors of a method store them are split into learned and frozen weights, and joined again."""

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.methods.bam import BAM
from fsbench.methods.dcama.dcama import DCAMA
from fsbench.methods.emat import EMAT
from fsbench.methods.hdmnet import HDMNet
from fsbench.methods.hsnet import HSNet, PATNet
from fsbench.methods.modules.pspnet_weights import to_bam_names, to_hmnet_names
from fsbench.methods.pfenet import PFENet
from fsbench.methods.vrp_sam import VRPSAM
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam import BesideSamConfig
from fsbench.networks.backbones.timm_networks import build_pyramid_network
from fsbench.networks.weights.files import state_digest
from fsbench.runner.engine.checkpoint import convert, load_checkpoint
from tests.methods.small import PYRAMID, pyramid

DILATED = BackboneConfig("dilated_vgg16", "random")


def bam(**options):
    return BAM(BackboneConfig("pspnet_vgg16", "random"), width=8, **options)


def pfenet(**options):
    return PFENet(DILATED, width=8, ppm_scales=[1.0, 0.5], **options)


def hdmnet(**options):
    return HDMNet(BackboneConfig("pspnet_vgg16", "random"), width=8, transformer_width=8, **options)


def vrp_sam():
    return VRPSAM(BesideSamConfig("vrp_vgg16", "random", sam="sam_demo"), width=32, prompts=6)


METHODS = {
    "bam": (
        lambda: bam(shots=5),
        ["learner_base.1.4.bias", "learner_base.0.features.0.1.weight", "kshot_rw.2.bias",
         "ASPP_meta.layer6_4.0.weight", "layer4.0.weight"],
    ),
    "hdmnet": (
        lambda: hdmnet(shots=5),
        ["base_learnear.2.bias", "ppm.features.0.1.weight", "kshot_rw.2.bias", "supp_merge.0.weight",
         "transformer.mix_transformer.match_layers.2.1.bn.running_var",
         "transformer.mix_transformer.down_sample_layers.0.1.attn.attn.linear_q.weight"],
    ),
    "pfenet": (pfenet, ["init_merge.1.0.weight", "alpha_conv.0.0.weight", "layer4.1.running_var"]),
    "vrp_sam": (
        vrp_sam,
        ["merge_1.0.weight", "layer4.1.running_var",
         "transformer_decoder.transformer_self_attention_layers_0.0.self_attn.in_proj_weight"],
    ),
}  # fmt: skip
"""Methods by name, and some of the names in their authors' files, after `module.`."""


@pytest.mark.parametrize("name", METHODS)
def test_an_authors_checkpoint_is_split_and_joined(name):
    if name == "vrp_sam":
        pytest.importorskip("transformers")
    build, theirs = METHODS[name]
    method = build()
    form, own, frozen = method.released_format, method.state_dict(), method.backbone.state
    joined = form.join(own, frozen)
    joined = joined.get("state_dict", joined)
    assert {f"module.{key}" for key in theirs} <= joined.keys()
    bare = {key.removeprefix("module."): value for key, value in joined.items()}
    for state in (joined, bare):  # with and without the wrapper of a training on several GPUs
        learned, backbone = form.split(state)
        assert learned.keys() == own.keys() and backbone.keys() == frozen.keys()
        assert all(torch.equal(learned[key], value) for key, value in own.items())
        assert all(torch.equal(backbone[key], value) for key, value in frozen.items())
    assert form.split({"layer0.0.weight": torch.zeros(1)}) is None


def test_names_of_bams_base_learner_are_those_of_hmnets_and_back():
    frozen = bam().backbone.state
    assert to_hmnet_names(to_bam_names(frozen)).keys() == frozen.keys()


def test_pfenet_without_moving_statistics_leaves_those_of_a_checkpoint_out():
    method = pfenet()
    learned, _ = method.released_format.split(
        method.released_format.join(method.state_dict(), method.backbone.state)["state_dict"]
    )
    kept, _ = pfenet(backbone_bn="eval").filter_state_dict(learned, "it")
    assert kept and not [key for key in kept if key.startswith("trunk.")]


def test_weights_that_do_not_replace_a_backbone_are_refused():
    method = pfenet()
    less = {key: value for key, value in method.backbone.state.items() if "layer4" not in key}
    with pytest.raises(CheckpointError, match="ImageNet weights for dilated_vgg16 cannot be used"):
        method.backbone.replace_weights(less, "a file")


FORMS = {m.registry_name: m.released_format for m in (EMAT, DCAMA, HSNet, PATNet)}


@pytest.mark.parametrize(
    ("make", "prefixes", "frozen"),
    [
        pytest.param(
            lambda w: DCAMA(pyramid(w)), ["module.model."], "module.feature_extractor.", marks=pytest.mark.slow(1)
        ),
        (lambda w: HSNet(pyramid(w), width=32), ["module.hpn_learner."], "module.backbone."),
        pytest.param(
            lambda w: PATNet(pyramid(w), width=32, anchors="scale"),
            ["module.reference_layer", "module.hpn_learner."],
            "module.backbone.",
            marks=pytest.mark.slow(1),
        ),
    ],
    ids=["dcama", "hsnet", "patnet"],
)
@pytest.mark.usefixtures("pyramids")
def test_checkpoints_of_the_authors_both_ways(make, prefixes, frozen, tmp_path):
    """A file in the authors' form evaluates, becomes ours, and comes back with the same tensors in the same order."""
    torch.manual_seed(1)
    weights = build_pyramid_network(PYRAMID).state_dict() | {"fc.weight": torch.randn(3, 64), "fc.bias": torch.randn(3)}
    torch.save(weights, tmp_path / "backbone.pth")
    method = make(str(tmp_path / "backbone.pth"))
    learned = {f"module.{k}": v for k, v in method.released_format.complete(method.state_dict()).items()}
    theirs = {frozen + key: value for key, value in weights.items()} | learned
    assert all(key.startswith((*prefixes, frozen)) for key in theirs)
    torch.save(theirs, tmp_path / "theirs.pt")

    other = make("random:5")
    load_checkpoint(other, tmp_path / "theirs.pt")
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in other.state_dict().items())
    assert other.backbone.digest == method.backbone.digest and "theirs.pt" in other.backbone.weights_id

    assert convert(tmp_path / "theirs.pt", tmp_path / "ours.ckpt", None, FORMS) == "authors' to ours"
    load_checkpoint(method, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="trained on the backbone weights"):
        load_checkpoint(make("random:5"), tmp_path / "ours.ckpt")

    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "trained.ckpt")
    direction = convert(tmp_path / "trained.ckpt", tmp_path / "back.pt", tmp_path / "backbone.pth", FORMS)
    assert direction == "ours to authors'"
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert list(back) == list(theirs) and all(torch.equal(back[k], theirs[k]) for k in back)

    convert(tmp_path / "ours.ckpt", tmp_path / "again.pt", tmp_path / "backbone.pth", FORMS)  # the converted one
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(theirs) and all(torch.equal(again[k], theirs[k]) for k in again)
    form = FORMS["emat"]
    with pytest.raises(CheckpointError, match=r"is of the method '.*', which this version does not know"):
        convert(tmp_path / "ours.ckpt", tmp_path / "x.pt", tmp_path / "backbone.pth", {"emat": form})


def test_swin_weights_under_timms_names_are_not_handed_to_the_authors_program(tmp_path):
    state = {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(3, 1), "layers.1.downsample.norm.weight": torch.zeros(4)}
    torch.save(state, tmp_path / "timm.pth")
    ours = {"state_dict": {}, "fsbench": {"method": "dcama", "backbone_sha256": state_digest(state)}}
    torch.save(ours, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="has Swin's weights under timm's names"):
        convert(tmp_path / "ours.ckpt", tmp_path / "theirs.pt", tmp_path / "timm.pth", FORMS)
