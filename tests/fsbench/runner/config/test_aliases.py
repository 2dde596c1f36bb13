"""Every alias composes to the arguments that its own file of configs/methods had, written down here."""

import json

import pytest
import yaml

from fsbench.base.paths import CONFIGS
from fsbench.runner.config.merge import setting
from fsbench.runner.config.parse import parse_values
from fsbench.runner.config.registry import aliases, names, task_of
from fsbench.runner.config.run_config import RunConfig

DCAMA = {
    "attn_scales": (8, 16, 32), "dropout": 0.5, "heads": 8, "learning_rate": 1e-3, "momentum": 0.9, "pe": "sin1d",
    "skip_scales": (4, 8), "skip_support": True, "support_background": "keep", "support_pixels": "all",
    "weight_decay": 1e-4, "width": 128,
}  # fmt: skip
HSNET = {"learning_rate": 1e-3, "width": 128}
HMNET = {
    "bam": True, "blocks": 8, "feature_side": 64, "hybrid": True, "learning_rate": 5e-3, "mamba": True,
    "mamba_learning_rate": 6e-5, "mamba_schedule": "constant", "mamba_weight_decay": 0.01, "momentum": 0.9,
    "qim": "share", "qim_scalar_skip": True, "ratio": 4, "shots": 1, "srm": "recap", "states": 16,
    "weight_decay": 1e-4, "width": 256,
}  # fmt: skip
PATNET = {"learning_rate": 1e-3, "width": 128, "anchors": "index", "tuning_steps": 0, "tuning_rate": 1e-3}
BAM = {
    "base_learner": True, "dropout": 0.5, "kshot_trans_dim": 2, "learning_rate": 5e-3, "low_fea": "layer2",
    "merge": "final", "merge_tau": 0.9,
    "meta_weight": 1.0, "momentum": 0.9, "shots": 1, "weight_decay": 1e-4, "width": 256,
}  # fmt: skip
PFENET = {
    "aux_weight": 1.0, "backbone_bn": "train", "learning_rate": 2.5e-3, "momentum": 0.9,
    "ppm_scales": [60, 30, 15, 8], "weight_decay": 1e-4, "width": 256,
    "dropout": 0.5,
}  # fmt: skip
HDMNET = {
    "base_learner": True, "distillation_weight": 1.0, "dropout": 0.5, "kshot_trans_dim": 2, "learning_rate": 1e-4,
    "low_fea": "layer2", "meta_weight": 1.0, "shots": 1, "transformer_width": 64,
    "weight_decay": 0.01, "width": 256,
}  # fmt: skip
VRP_SAM = {
    "annotation": "mask", "width": 256, "prompts": 50, "heads": 4, "learning_rate": 1e-4, "weight_decay": 1e-6,
    "seed": 0,
}  # fmt: skip
FULL = {
    "alpha": 0.0, "epochs": 5, "head": "metaoptnet", "learning_rate": 5e-5, "optimiser": "adamw", "patches": 14,
    "tau": 1.0, "temperature": 1.0, "tuning": "full", "gradient_weight": 1.0, "prompt_draw": "run",
}  # fmt: skip
LORA = FULL | {"epochs": 10, "learning_rate": 5e-3, "temperature": 20.0, "tuning": "lora"}
SSF = LORA | {"tuning": "ssf"}

METHODS = {  # class, backbone, its cache in MiB, the other arguments
    "dcama_resnet50": ("dcama.DCAMA", "resnet50", 3072, DCAMA),
    "dcama_resnet101": ("dcama.DCAMA", "resnet101", 3072, DCAMA),
    "hsnet_resnet101": ("hsnet.HSNet", "resnet101_v1", 3072, HSNET),
    "hsnet_vgg16": ("hsnet.HSNet", "vgg16", 3072, HSNET),
    "patnet_vgg16": ("hsnet.PATNet", "vgg16", 3072, PATNET),
    "hmnet_vgg": ("hmnet.HMNet", "pspnet_vgg16", 1024, HMNET),
    "hdmnet_vgg": ("hdmnet.HDMNet", "pspnet_vgg16", 1024, HDMNET),
    "bam_vgg": ("bam.BAM", "pspnet_vgg16", 1024, BAM),
    "pfenet_vgg": ("pfenet.PFENet", "dilated_vgg16", 1024, PFENET),
    "pfenet_resnet101": ("pfenet.PFENet", "dilated_resnet101", 1024, PFENET),
    "vrp_sam_resnet101": ("vrp_sam.VRPSAM", "vrp_resnet101", 4096, VRP_SAM),
    "vrp_sam_vgg16": ("vrp_sam.VRPSAM", "vrp_vgg16", 4096, VRP_SAM),
    "ft_swin": ("classifiers.FineTuned", "ibot_swin_tiny", 3072, FULL),
    "lora_swin": ("classifiers.FineTuned", "ibot_swin_tiny", 3072, LORA),
    "ssf_swin": ("classifiers.FineTuned", "ibot_swin_tiny", 3072, SSF),
    "fort_swin": ("classifiers.FineTuned", "ibot_swin_tiny", 3072, FULL | {"alpha": 0.3, "patches": 7, "tau": 10.0}),
    "fort_lora_swin": (
        "classifiers.FineTuned", "ibot_swin_tiny", 3072, LORA | {"alpha": 0.3, "patches": 7, "tau": 10.0},
    ),
    "fort_ssf_swin": (
        "classifiers.FineTuned", "ibot_swin_tiny", 3072, SSF | {"alpha": 0.5, "patches": 7, "tau": 20.0},
    ),
    "metaoptnet_swin": ("classifiers.FrozenClassifier", "ibot_swin_tiny", 3072, {"solver": "metaoptnet"}),
    "metaoptnet_clip": ("classifiers.FrozenClassifier", "clip_vitb16", 3072, {"solver": "metaoptnet"}),
}  # fmt: skip
BESIDE = {"vrp_sam": {"sam": "sam_vit_h", "sam_weights": None, "sam_prompts": 64}}
"""Settings of the network that a method has beside the first."""
RUNS = {  # image size, batch size, epochs, protocol, augmentation
    "dcama": (384, 48, 1000, "hsnet", "none"),
    "hsnet": (400, 20, 2000, "hsnet", "none"),
    "patnet": (400, 20, 2000, "hsnet", "none"),
    "hmnet": (473, 8, 300, "pfenet", "pascal"),
    "hdmnet": (473, 4, 200, "pfenet", "pascal_resized"),
    "bam": (473, 8, 200, "pfenet", "pascal"),
    "pfenet": (473, 4, 200, "pfenet", "pascal"),
    "vrp_sam": (512, 8, 50, "hsnet", "none"),
    "classification": (224, None, 80, None, None),
}
ON_DATA = {  # what a data set changes of the run, and of the method
    ("dcama", "coco"): ((384, 48, 500, "hsnet", "none"), {}),
    ("dcama", "fss1000"): ((384, 40, 1000, "hsnet", "none"), {}),
    ("hsnet", "coco"): ((400, 40, 2000, "hsnet", "none"), {}),
    ("hdmnet", "coco"): ((633, 6, 50, "pfenet", "coco_resized"), {}),
    ("bam", "coco"): ((641, 8, 50, "pfenet", "coco"), {}),
    ("pfenet", "coco"): (
        (641, 32, 50, "pfenet", "coco"),
        {"learning_rate": 2e-2, "ppm_scales": [1.0, 0.5, 0.25, 0.125]},
    ),
    ("hmnet", "coco"): ((633, 16, 75, "pfenet", "coco"), {"feature_side": 80}),
}


PARSED = {}
"""Parsed configurations, by the JSON of their settings without the data set and the test."""


def compose(method, dataset, **options):
    """The configuration of a run on fold 0, of its data set or of one before that changes nothing else, and the
    protocol that it states."""
    settings = RunConfig(method, dataset, **options).values
    others = {name: value for name, value in settings["data"]["init_args"].items() if name not in ("dataset", "test")}
    key = json.dumps(settings | {"data": settings["data"] | {"init_args": others}}, sort_keys=True)
    if key not in PARSED:
        PARSED[key] = parse_values(settings, build=False)
    return PARSED[key], setting(settings, "data.test.protocol")


def stated_protocols():
    """{data set: protocol} of those whose own file in configs/data states one."""
    found = {}
    for path in (CONFIGS / "data").glob("*.yaml"):
        data = yaml.safe_load(path.read_text()).get("data", {})
        protocol = data.get("init_args", {}).get("test", {}).get("protocol")
        if protocol is not None:
            found[path.stem] = protocol
    return found


ONE_PROTOCOL = stated_protocols()
"""Data sets that come with their protocol, which wins over the method's own."""
OFTEN = ("dcama_resnet50", "vrp_sam_vgg16", "fort_lora_swin")
"""Stand for the others in the quick tests: one alias each of a trained method, of one on SAM, and of a classifier."""


def test_every_alias_is_held_here():
    assert set(aliases()) == set(METHODS)


def test_data_sets_state_their_protocols():
    """Some of each kind are written down here, so that a test which reads none of the files' statements fails."""
    some = {"isaid": "incontext", "pascal10i": "gfss", "suim": "cdfss", "sabs": "alpnet", "kvasir": "distillfss"}
    assert some.items() <= ONE_PROTOCOL.items() and not {"pascal", "coco", "fss1000"} & ONE_PROTOCOL.keys()


@pytest.mark.parametrize(
    "alias", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow(1)) for name in METHODS]
)
def test_an_alias_has_the_arguments_that_it_always_had(alias):
    kind, backbone, cache, arguments = METHODS[alias]
    choice = aliases()[alias]
    task = task_of("methods", choice.method)
    for dataset in names("data"):
        if task_of("data", dataset) != task or dataset in ("demo", "demo-cls"):
            continue
        plain = RUNS["classification" if task == "classification" else choice.method], {}
        run, changes = ON_DATA.get((choice.method, dataset), plain)
        if dataset in ONE_PROTOCOL:
            run = (*run[:3], ONE_PROTOCOL[dataset], *run[4:])
        for composed, protocol in (
            compose(alias, dataset),
            *([compose(choice.method, dataset, backbone=backbone)] if dataset in ("coco", "pets") else []),
        ):
            config, data = composed.config, composed.data_arguments
            assert config.run.name == alias
            assert config.model.class_path == f"fsbench.methods.{kind}"
            assert config.model.init_args.as_dict() == {
                "backbone": {"name": backbone, "weights": None, "cache_mib": cache, "cache_dtype": "float32",
                             "precision": "fp32", **BESIDE.get(choice.method, {})},
                **arguments, **changes,
            }  # fmt: skip
            assert (
                data["image_size"], data.get("training", {}).get("batch_size"), config.trainer.max_epochs,
                protocol, data.get("training", {}).get("augmentation"),
            ) == run  # fmt: skip
            assert config.get("optimizer") is None and config.get("lr_scheduler") is None


@pytest.mark.parametrize(("backbone", "expected"), [(None, "demo"), ("resnet50", "resnet50")])
def test_an_explicit_backbone_wins_over_the_data_sets(backbone, expected):
    config = compose("dcama", "demo", backbone=backbone)[0].config
    assert config.model.init_args.backbone.name == expected
    assert config.run.name == ("dcama" if backbone is None else "dcama_resnet50")
    assert config.task == "segmentation"
