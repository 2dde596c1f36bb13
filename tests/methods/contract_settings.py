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
    **{name: ["--model.epochs=1", "--model.width=16"] for name in ("abcdfss", "abcdfss_every")},
    "diam": ["--model.iterations=3"],
}
"""Arguments of a run, by method."""

ALIKE = ("bam_5shot", "cst_large", "hdmnet_5shot", "hmnet_5shot", "ifa_5shot", "sam3_canvas_names", "sansa_generalist")
"""Methods that are not checked: each is a class that is, with other numbers, words or weights. What they answer and
learn is held by `fsbench regress`."""

CROSSING = ("another-process", "memory")
"""Checks that start a process, or take many episodes."""
QUICK_FORM = ("shapes", "ways-and-shots", "empty-supports", "batch", "truth", "checkpoint", "gradients", "overfit")
"""Checks of what a method's own code decides. Those of `batch` and `checkpoint` compare answers to the bit as well."""
OTHER_CHECKS = tuple(name for name in CHECKS if name not in (*QUICK_FORM, *CROSSING))
EXPORTED = ("linear_probe_dense", "emat", "hsnet", "hmnet", "fssdino")
"""Methods whose exported files are held against them (tests/fsbench/predict/test_export.py): one of each family."""
WHOLE = (
    "emat", "cst", "dcama", "hsnet", "hmnet", "pfenet", "prototype", "insid3", "seggpt", "matcher", "patnet_tfi",
    "abcdfss_every", "persam_f", "nn", "protonet", "fort_lora",
)  # fmt: skip
"""One for each way in which methods are built: those that the other checks are run for."""

PARTLY = {
    "pspnet": ("shapes", "truth", "gradients", "overfit"),
    "diam": ("shapes", "ways-and-shots", "truth", "empty-supports"),
    **dict.fromkeys(("ifa_strict", "patnet_tfi"), ("shapes", "ways-and-shots", "truth", "batch")),
    "vrp_sam": ("shapes", "ways-and-shots", "truth", "batch", "determinism", "checkpoint", "gradients"),
    "sansa": ("shapes", "ways-and-shots", "truth", "checkpoint", "gradients"),
}
"""Checks of VRP-SAM, SANSA and of methods without a configuration for the demo, whose networks are large; and of those
that are trained as another one is, whose training is checked with that.

The demos of VRP-SAM and SANSA have a SAM of random weights, with which no batch can be learned by heart.
"""
