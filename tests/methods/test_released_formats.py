"""Checkpoints as the authors of a method store them are split into learned and frozen weights, and joined again."""

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.methods.bam import BAM
from fsbench.methods.hdmnet import HDMNet
from fsbench.methods.modules.pspnet_weights import to_bam_names, to_hmnet_names
from fsbench.methods.pfenet import PFENet
from fsbench.methods.vrp_sam import VRPSAM
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam import BesideSamConfig

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
