"""Settings that make methods small for the checks of their contract, and checks that some do without."""

from fsbench.runner.contract.suite import CHECKS

ONE_EPOCH = ["--model.epochs=1"]
"""Argument of methods that tune a network in each episode."""
OPTIONS = {
    **dict.fromkeys(("ft", "vpt", "lora", "ssf", "fort", "fort_lora", "fort_ssf"), ONE_EPOCH),
    "lora_probe_dense": ["--model.tuning_steps=1"],
    "persam_f": ["--model.steps=2"],
    "patnet_tfi": ["--model.tuning_steps=2"],
    **{name: ["--model.adaptation.epochs=1"] for name in ("ifa", "ifa_5shot", "ifa_strict")},
    "abcdfss": ["--model.epochs=2"],
    "abcdfss_every": ["--model.epochs=2"],
    "diam": ["--model.iterations=3"],
    "bam_5shot": ["--model.width=32"],
    "hdmnet_5shot": ["--model.width=32"],
    "hmnet_5shot": ["--model.width=32", "--model.feature_side=16", "--model.blocks=2", "--model.states=4"],
}
"""Arguments of a run, by method."""

CROSSING = ("another-process", "memory")
"""Checks that start a process, or take many episodes."""
QUICK_FORM = ("shapes", "ways-and-shots", "empty-supports", "batch", "truth", "checkpoint", "gradients", "overfit")
"""Checks of what a method's own code decides. Those of `batch` and `checkpoint` compare answers to the bit as well."""
OTHER_CHECKS = tuple(name for name in CHECKS if name not in (*QUICK_FORM, *CROSSING))
WHOLE = (
    "emat", "cst", "dcama", "hsnet", "hmnet", "pfenet", "prototype", "insid3", "seggpt", "matcher", "patnet_tfi",
    "abcdfss_every", "persam_f", "nn", "protonet", "fort_lora",
)  # fmt: skip
"""One for each way in which methods are built: those that the other checks are run for."""

PARTLY = {
    "pspnet": ("shapes", "truth", "gradients", "overfit"),
    "diam": ("shapes", "ways-and-shots", "truth", "empty-supports"),
    **dict.fromkeys(("bam_5shot", "hdmnet_5shot"), ("shapes", "ways-and-shots", "truth")),
    "hmnet_5shot": ("shapes", "ways-and-shots", "truth"),
    "vrp_sam": ("shapes", "ways-and-shots", "truth", "batch", "determinism", "checkpoint", "gradients"),
    "sansa": ("shapes", "ways-and-shots", "truth", "checkpoint", "gradients"),
    "sansa_generalist": ("shapes", "ways-and-shots", "truth"),
}
"""Checks of VRP-SAM, SANSA and of methods without a configuration for the demo, whose networks are large.

The demos of VRP-SAM and SANSA have a SAM of random weights, with which no batch can be learned by heart.
"""
