"""What a run makes of the arguments of Lightning's Trainer: it obeys them, or they change no result, or it refuses."""

from collections.abc import Mapping, Sequence
from typing import Any

from fsbench.base.errors import SettingsError

OBEYED = {
    "precision", "callbacks", "plugins", "max_epochs", "min_epochs", "max_steps", "min_steps", "max_time",
    "limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch", "gradient_clip_val",
    "gradient_clip_algorithm", "deterministic", "sync_batchnorm", "reload_dataloaders_every_n_epochs",
}  # fmt: skip
"""Arguments that may change what is learned."""

INDIFFERENT = {
    "accelerator", "strategy", "devices", "num_nodes", "logger", "profiler", "log_every_n_steps", "model_registry",
    "enable_progress_bar", "enable_checkpointing", "enable_autolog_hparams", "use_distributed_sampler", "benchmark",
    "inference_mode", "detect_anomaly",
}  # fmt: skip
"""Arguments that change where, how fast and with which reports a run computes, and none of its results."""

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "accumulate_grad_batches": (
        (1,),
        "data.training.batch_size says how many episodes a step has; give MICRO_BATCH (--data.training.micro_batch), "
        "the episodes that a process takes at once: the suite accumulates the rest",
    ),
    "barebones": ((False,), "it switches off the checkpoints and the validation that a run needs; leave it out"),
    "default_root_dir": ((None,), "a run writes to a folder of its own in that of --run.runs; give --run.runs FOLDER"),
    "enable_model_summary": ((None, False), "a run prints no summary of its model; leave it out"),
    "fast_dev_run": ((False, 0), "a run trains until it has a checkpoint; give --fast for a short trial"),
    "limit_predict_batches": ((None, 1.0), "a run predicts all episodes of its test; give --episodes for fewer"),
    "limit_test_batches": ((None, 1.0), "a run predicts all episodes of its test; give --episodes for fewer"),
    "num_sanity_val_steps": ((None, 0), "a run validates only after its epochs begin; leave it out"),
    "overfit_batches": (
        (0, 0.0),
        "a run validates on other images than it trains on; give --trainer.limit_train_batches for short epochs",
    ),
}
"""Arguments that a run does not obey: their values that ask for nothing else than what it does, and what to do."""


def is_one_of(value: Any, values: Sequence[Any]) -> bool:
    """Return whether a setting has one of some values, of the same type: 1 is one batch, and 1.0 all of them."""
    return (type(value), value) in [(type(one), one) for one in values]


def check_obeyed(settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for an argument of Lightning's Trainer that a run would not obey.

    Args:
        settings: {name: value} of the arguments that are set.
    """
    for name, (harmless, advice) in REFUSED.items():
        value = settings.get(name, harmless[0])
        if not is_one_of(value, harmless):
            raise SettingsError(f"trainer.{name} is {value}, but {advice}")


def check_optimiser(settings: Mapping[str, Any], arguments: Sequence[str], learns: bool) -> None:
    """Raise SettingsError for an optimiser or a schedule that nothing would use.

    A configuration may state the optimiser of its training where a checkpoint is evaluated.

    Args:
        settings: nested settings of a run.
        arguments: those of the settings that the command itself gives, each `--key=value`.
        learns: whether the method is trainable.
    """
    given = {name: settings[name]["class_path"] for name in ("optimizer", "lr_scheduler") if settings.get(name)}
    for name, kind in given.items():
        is_asked = any(one.startswith(f"--{name}=") for one in arguments)
        if not learns or (settings["run"]["checkpoint"] and is_asked):
            why = "a checkpoint is given, so that nothing is trained" if learns else "the method does not learn"
            raise SettingsError(f"{name} is {kind}, but {why}; leave --{name} out")
    if given.keys() == {"lr_scheduler"}:
        raise SettingsError(
            f"lr_scheduler is {given['lr_scheduler']}, but a schedule is used with an optimizer beside it alone; give "
            "--optimizer as well, or leave --lr_scheduler out"
        )
