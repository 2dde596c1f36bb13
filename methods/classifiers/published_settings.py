"""Published hyper-parameters of fine-tuning and FORT, and a note for runs with others (fort.md §8, §9.4)."""

from typing import Any

from fsbench.methods.classifiers.fort import GRADIENT_WEIGHT

CUB, PETS = "cub", "pets"

TUNING: dict[tuple[str, str, str], tuple[float, int]] = {
    ("dino_vitb16", "head", CUB): (1e-2, 20),
    ("dino_vitb16", "full", CUB): (1e-5, 5),
    ("dino_vitb16", "ssf", CUB): (5e-3, 10),
    ("dino_vitb16", "lora", CUB): (5e-3, 10),
    ("dino_vitb16", "vpt", CUB): (1e-2, 10),
    ("dino_vitb16", "full", PETS): (1e-5, 5),
    ("dino_vitb16", "ssf", PETS): (5e-3, 10),
    ("dino_vitb16", "lora", PETS): (5e-3, 10),
    ("ibot_swin_tiny", "full", CUB): (5e-5, 5),
    ("ibot_swin_tiny", "ssf", CUB): (5e-3, 10),
    ("ibot_swin_tiny", "lora", CUB): (5e-3, 10),
}
"""(backbone, tuned part, data set) -> learning rate and epochs, 1-shot (§8)."""

OPTIMISERS = {"head": "sgd", "vpt": "sgd", "full": "adamw", "lora": "adamw", "ssf": "adamw"}
TEMPERATURES = {"vpt": 20.0, "lora": 20.0, "ssf": 20.0}
"""Tuned part -> temperature of a solved head; 1 for all others (§7)."""

FORT: dict[tuple[str, str, str], tuple[int, float, float]] = {
    ("dino_vitb16", "full", CUB): (14, 1, 0.03),
    ("dino_vitb16", "ssf", CUB): (14, 1, 0.1),
    ("dino_vitb16", "lora", CUB): (14, 1, 0.5),
    ("dino_vitb16", "full", PETS): (14, 10, 1.0),
    ("dino_vitb16", "ssf", PETS): (14, 1, 0.08),
    ("dino_vitb16", "lora", PETS): (14, 1, 0.1),
    ("ibot_swin_tiny", "full", CUB): (7, 10, 0.3),
    ("ibot_swin_tiny", "ssf", CUB): (7, 20, 0.5),
    ("ibot_swin_tiny", "lora", CUB): (7, 10, 0.3),
}
"""(backbone, tuned part, data set) -> P, tau, alpha of FORT, 1-shot (§9.4)."""

RANDOM = ("vpt", "lora")
"""Tuned parts with random first values."""


def tuning_notes(method: Any, data: Any) -> list[str]:
    """Return notes (at most one sentence) on whether a method's fine-tuning settings are the published ones.

    Args:
        method: the classifier that fine-tunes a network.
        data: the data module of the test.

    Returns:
        An empty list if the settings agree with those published for this data set and network; otherwise one sentence,
        which says that they differ, or that none are published.
    """
    key = (method.backbone.name, method.tuning, data.dataset.name)
    known = data.test.shot == 1 and key in TUNING and (not method.schedule.alpha or key in FORT)
    if not known:
        return [f"hyper-parameters are fsbench's own: none are published for {data.dataset.name} {data.test.shot}-shot"]
    schedule = method.schedule
    solved = method.head_kind != "default"  # figures without initialisation are printed too
    temperature = TEMPERATURES.get(method.tuning, 1.0) if solved else 1.0
    same = TUNING[key] == (schedule.learning_rate, method.epochs)
    same = same and (OPTIMISERS[method.tuning], temperature) == (schedule.optimiser, schedule.temperature)
    same = same and method.head_kind in ("metaoptnet", "default")
    if schedule.alpha:
        same = same and FORT[key] == (method.patches, schedule.tau, schedule.alpha)
        same = same and method.gradient_weight == GRADIENT_WEIGHT
    same = same and (method.tuning not in RANDOM or method.prompt_draw == "run")
    return [] if same else ["hyper-parameters differ from the published ones"]
