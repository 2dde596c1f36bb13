"""Settings, images and shots that a method cannot do are refused with what was found and what was expected.

A table for each family: what is asked for, and words of the refusal.
"""

import pytest

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.methods.bam import BAM
from fsbench.methods.blind import Blind
from fsbench.methods.classifiers.fine_tuned import FineTuned
from fsbench.methods.cst import CST
from fsbench.methods.dcama.dcama import DCAMA
from fsbench.methods.dcama.head import DCAMAHead
from fsbench.methods.dcama.options import HeadOptions
from fsbench.methods.dense_probes import LinearProbeDense, LoraProbeDense
from fsbench.methods.emat import EMAT
from fsbench.methods.fssdino import FSSDINO
from fsbench.methods.gf_sam import GFSAM
from fsbench.methods.hdmnet import HDMNet
from fsbench.methods.hmnet.base_learner import BaseLearner
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.hmnet.mamba import HybridMambaConfig
from fsbench.methods.hsnet import HSNet
from fsbench.methods.insid3 import INSID3
from fsbench.methods.matcher import Matcher, Prompting
from fsbench.methods.persam import PerSAM, PerSAMF
from fsbench.methods.pfenet import PFENet, bin_sides
from fsbench.methods.sam3_canvas import SAM3Canvas
from fsbench.methods.sansa import SANSA
from fsbench.methods.seggpt import SegGPT
from fsbench.methods.vrp_sam import VRPSAM
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam import BesideSamConfig, SamConfig
from fsbench.networks.backbones.sam2_sam3 import FrozenSam2, FrozenSam3, Sam3NetConfig
from fsbench.networks.backbones.seggpt import FrozenSegGPT
from tests.methods.hmnet.small import on_pspnet, on_vit

DEMO = BackboneConfig("demo", "random:1")
PSPNET = BackboneConfig("pspnet_vgg16", "random")
SAM = SamConfig("sam_demo", "random:1")
VIT_AND_SAM = BesideSamConfig("demo", "random:1", sam="sam_demo", sam_weights="random:2")
BESIDE_SAM = BesideSamConfig("demo", sam="sam_demo", sam_weights="random:1")


def dcama_head(**options):
    return DCAMAHead((8, 16, 16, 32), (1, 2, 1, 1), HeadOptions(**options))


def bam(**options):
    return BAM(DEMO, **{"width": 8, "base_learner": False} | options)


def vrp_sam(**options):
    return VRPSAM(BESIDE_SAM, **{"width": 32, "prompts": 6} | options)


def sansa(**options):
    return SANSA(BackboneConfig("sam2_demo", "random:1"), **options)


def sam3_canvas(**options):
    return SAM3Canvas(Sam3NetConfig("sam3_demo", "random:1"), **options)


def seggpt(**options):
    return SegGPT(BackboneConfig("seggpt_demo", "random:1"), **options)


def hdmnet(**options):
    return HDMNet(DEMO, **{"width": 8, "transformer_width": 8, "base_learner": False} | options)


TRAINED = [
    (lambda: EMAT(DEMO, support_side=6), "support_side is 6, expected a multiple of 4"),
    (lambda: CST(DEMO, support_side=20), r"would leave tokens out; expected 12 \(CST\*, CST of 2023\), 18"),
    (lambda: EMAT(DEMO).check_shots(1, 2), "training_shot is 2, but EMAT trains 1-shot, as its authors do; expected 1"),
    (lambda: CST(DEMO).check_shots(1, 2), "training_shot is 2, but CST trains 1-shot"),
    (lambda: HSNet(DEMO).check_shots(1, 2), "training_shot is 2, but HSNet trains 1-shot"),
    (lambda: DCAMA(DEMO).check_shots(1, 2), "training_shot is 2, but DCAMA trains 1-shot"),
    (lambda: hdmnet(base_learner=True), "base_learner needs a backbone with a base learner, found demo"),
    (lambda: hdmnet(transformer_width=12), "transformer_width is 12, expected a multiple of its 8 heads"),
    (lambda: hdmnet(distillation_weight=-1), "distillation_weight is -1, expected 0 or more"),
    (lambda: bam(dropout=1), "dropout is 1, expected a share from 0 to below 1"),
    (lambda: bam(base_learner=True), "base_learner needs a backbone with a base learner, found demo"),
    (lambda: bam(width=0), "width is 0, expected 1 or more"),
    (lambda: bam(meta_weight=-1), "meta_weight is -1, expected 0 or more"),
    (
        lambda: BAM(PSPNET, width=8, shots=3).check_shots(3, 1),
        r"data\.training\.training_shot is 1; give data\.training\.training_shot: 3",
    ),
    (
        lambda: PFENet(DEMO, ppm_scales=[1.0]),
        "backbone_bn train needs the layers of a dilated network, found demo",
    ),
    (lambda: PFENet(DEMO, backbone_bn="eval", aux_weight=-1), "aux_weight is -1, expected 0 or more"),
    *(
        (lambda scales=scales: bin_sides(scales, 8), "expected sides above 1, or shares of the map up to 1")
        for scales in ([60, 0.5], [0.1], [])
    ),
    (lambda: on_vit(bam=True), "bam needs a backbone with a base learner, found demo"),
    (lambda: on_vit(shots=5), "shots is 5, but without a base learner"),
    *(
        (lambda side=side: on_vit(feature_side=side), f"feature_side is {side}, expected a multiple of the 4 patches")
        for side in (9, 0)
    ),
    (lambda: HybridMambaConfig().check(15), "feature_side is 15, expected a multiple of the 4 patches a side"),
    (lambda: on_vit(states=300), "states is 300, expected at most 256"),
    *(
        (lambda rate=rate: on_vit(**{rate: -1}), f"^{rate} is -1, expected 0 or more")
        for rate in ("learning_rate", "mamba_learning_rate", "momentum", "weight_decay", "mamba_weight_decay")
    ),
    (lambda: BaseLearner(DEMO), "'demo' is no dilated network; give --model"),
    (
        lambda: HMNet(BackboneConfig("dinov2_vits14")),
        "'dinov2_vits14' gives no features for HMNet; there are: pspnet_resnet50",
    ),
    (
        lambda: on_pspnet().backbone.check_image_size(472),
        r"image size 472 does not fit pspnet_vgg16; expected 8 n \+ 1",
    ),
    (lambda: HMNet(BackboneConfig("pspnet_resnet50", "nowhere.pth")), "train them with METHOD=pspnet"),
    (
        lambda: DCAMA(BackboneConfig("eight", "random:0")).check_image_size(72),
        "image size 72 is not a multiple of 32",
    ),
    (lambda: dcama_head(heads=0), "heads is 0, expected 1 or more"),
    (
        lambda: dcama_head(attn_scales=(8,)),
        r"attn_scales is \[8\], expected \[32\], \[16, 32\] or \[8, 16, 32\]",
    ),
    (lambda: dcama_head(skip_scales=(4, 32)), r"skip_scales is \[4, 32\], expected some of 4, 8, 16"),
    (lambda: dcama_head(heads=3), "3 heads do not divide the 16 channels"),
    (lambda: dcama_head(dropout=1.0), "dropout is 1.0, expected"),
    (lambda: dcama_head(support_pixels=0), "support_pixels is 0, expected all"),
    (lambda: dcama_head(width=40), "width is 40, expected a multiple of 32"),
]

TRAINING_FREE = [
    (lambda: Blind(DEMO, sigma=0.0), "sigma is 0.0"),
    (lambda: Blind(DEMO, radius=-1.0), "radius is -1.0"),
    *(
        (lambda settings=settings: FSSDINO(DEMO, **settings), "a block of demo, -6 to 5")
        for settings in ({"layer": 6}, {"layer": -7}, {"n_clusters": 0}, {"seed": -1})
    ),
    *(
        (
            lambda components=components: INSID3(DEMO, svd_components=components),
            rf"^svd_components is {components}; expected 1 to 95, fewer than demo has channels \(96\); set "
            r"--model.svd_components$",
        )
        for components in (96, 0)
    ),
    (lambda: INSID3(DEMO, svd_components=8, tau=1.0), "expected a cosine between -1 and 1"),
    (lambda: INSID3(DEMO, svd_components=8, merge_threshold=-0.1), "expected a cosine between -1 and 1"),
    (lambda: LinearProbeDense(DEMO, penalty=0.0), "expected a penalty above 0 and steps from 1"),
    (lambda: LinearProbeDense(DEMO, steps=0), "expected a penalty above 0 and steps from 1"),
    (
        lambda: LoraProbeDense(DEMO, rank=0, tuning_steps=2),
        r"rank is 0, alpha 4, learning_rate 0.001, tuning_steps 2 and seed 0; expected",
    ),
]

PROMPTABLE = [
    (
        lambda: seggpt().check_image_size(448),
        r"image size 448 does not fit seggpt_demo.* expected --data.image_size 128",
    ),
    (lambda: seggpt(threshold=255.0), "threshold is 255, expected"),
    (lambda: FrozenSegGPT(DEMO), "unknown SegGPT 'demo'; there are: seggpt_vitl, seggpt_demo"),
    (lambda: Matcher(VIT_AND_SAM, Prompting((3, 2))), "sample_range is 3, 2; expected"),
    (lambda: Matcher(VIT_AND_SAM, Prompting(max_iterations=0)), "prompting.max_iterations is 0, expected 1 or more"),
    (lambda: Matcher(VIT_AND_SAM, seed=-1), "seed is -1, expected 0 or more"),
    (lambda: GFSAM(VIT_AND_SAM, vit_size=30), "vit_size is 30, expected a multiple of 8"),
    (lambda: GFSAM(VIT_AND_SAM, vit_size=64, max_points=0), "max_points is 0, expected 1 or more"),
    (
        lambda: GFSAM(BesideSamConfig("demo", sam="sam_vit_b", sam_weights="no/sam_vit_b_01ec64.pth"), vit_size=64),
        "weights of the backbone sam_vit_b are not at .*sam_vit_b_01ec64.pth",
    ),
    (lambda: PerSAM(SamConfig("sam2_hiera_tiny", "random:1")), "unknown promptable network 'sam2_hiera_tiny'"),
    (lambda: PerSAM(SAM, mask_value=0), "mask_value is 0, expected 1 to 255"),
    (lambda: PerSAMF(SAM, steps=0), "steps is 0"),
    (lambda: sam3_canvas(ratio=1.0), "ratio is 1, expected a share"),
    (lambda: sam3_canvas(ratio_of_several=0.001), "ratio_of_several is 0.001, expected a share"),
    (lambda: sam3_canvas(threshold=1.0), "threshold is 1, expected a score"),
    (lambda: sam3_canvas(most_negatives=2), "most_negatives is 2 with orient vertical and swap False"),
    (
        lambda: sam3_canvas(most_negatives=2, swap=True).check_shots(5, None),
        "most_negatives is 2 for 5 shots",
    ),
    (lambda: sam3_canvas().check_shots(90, None), "90 shots do not fit on a canvas of 112 pixels"),
    (lambda: FrozenSam3(Sam3NetConfig("demo")), "unknown SAM 3 'demo'"),
    (lambda: sansa(factor=0.01), "the 16 of block 2; expected 0.07 or more"),
    (lambda: sansa(learning_rate=float("nan")), "learning_rate nan"),
    (lambda: sansa(dropout=1.0), "from 0 to below 1"),
    (lambda: sansa(stages=[4]), "expected some of 0 to 3"),
    (lambda: sansa(training="generalist", factor=0.8).check_shots(1, 1), "expected its authors' checkpoint"),
    (lambda: FrozenSam2(BackboneConfig("sam2_dem", "random")), "did you mean 'sam2_demo'"),
    (lambda: vrp_sam(width=64), "prompts of sam_demo have 32 channels; give --model.width 32"),
    (lambda: vrp_sam(prompts=0), "expected a width that is a multiple of twice the heads"),
    (lambda: vrp_sam(learning_rate=-1.0), "learning_rate is -1.0, expected 0 or more"),
    (lambda: vrp_sam().check_shots(1, 2), "training_shot is 2, but VRPSAM trains 1-shot"),
    (
        lambda: VRPSAM(BesideSamConfig("resnet9", "random", sam="sam_demo"), width=32),
        "'resnet9' gives no features for VRP-SAM",
    ),
    (
        lambda: VRPSAM(BesideSamConfig("vrp_vgg16", "random", sam="sam_demo"), width=32).check_image_size(100),
        "image size 100 does not fit vrp_vgg16; expected a multiple of 8",
    ),
]


def fine_tuned(name, **settings):
    return FineTuned(BackboneConfig(name, "random"), **settings)


CLASSIFIERS = [
    (lambda: fine_tuned("clip_vitb16", alpha=0.1), "clip_vitb16 only gives features here"),
    (lambda: fine_tuned("ibot_swin_tiny", tuning="vpt"), "prompts need a ViT"),
    (
        lambda: fine_tuned("resnet50", alpha=0.1),
        "unknown backbone 'resnet50' of a classifier; there are: dinov2_vits14",
    ),
    (lambda: fine_tuned("demo", epochs=0), "epochs is 0"),
    (lambda: fine_tuned("demo", learning_rate=float("inf")), "learning_rate is inf"),
    (lambda: fine_tuned("demo", tuning="vpt", alpha=0.1), "FORT is not defined with prompts"),
    (
        lambda: fine_tuned("demo", alpha=0.1, gradient_weight=-1.0),
        r"gradient_weight is -1\.0, expected a finite number of 0 or more",
    ),
    (lambda: fine_tuned("dinov3_vits16", alpha=0.1), "FORT needs a ViT or a Swin"),
    (lambda: fine_tuned("dinov2_vits14_reg", alpha=0.1), "one class token; this one has 5"),
]


@pytest.mark.usefixtures("pyramids")
@pytest.mark.parametrize(("asked", "message"), [*TRAINED, *TRAINING_FREE, *CLASSIFIERS])
def test_what_a_method_cannot_do_is_refused(asked, message):
    with pytest.raises((SettingsError, CheckpointError), match=message):
        asked()


@pytest.mark.parametrize(("asked", "message"), PROMPTABLE)
def test_what_a_promptable_network_cannot_do_is_refused(asked, message):
    pytest.importorskip("transformers")
    with pytest.raises((SettingsError, CheckpointError), match=message):
        asked()
