"""Choose what a predictor runs with: the method's settings, and the device."""

from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.runner.config.backbone_choice import AUTO, backbone_at_hand
from fsbench.runner.config.build import SuiteCLI, compose_method
from fsbench.runner.config.stored import parse_stored


def compose_settings(
    method: str, dataset: str | None, checkpoint: Path | None, backbone: str | None, weights: str | None
) -> SuiteCLI:
    """Compose the settings of the run that a checkpoint lies in, else those of configs/methods. Nothing is built.

    Args:
        method: a method or an alias.
        dataset: a data set whose settings of the method hold, instead of the run's.
        checkpoint: the method's checkpoint.
        backbone: a backbone instead of the method's; "auto" for one that is here.
        weights: the backbone's weights.

    Raises:
        SettingsError: the checkpoint's run is of another method.
    """
    backbone = None if backbone == AUTO and (checkpoint or weights) else backbone_at_hand(backbone, method, dataset)
    composed = compose_method(method, dataset, backbone, weights)
    if checkpoint is None or dataset is not None:
        return composed
    config = checkpoint.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        return composed
    own = {"model.backbone.name": backbone, "model.backbone.weights": weights}
    run = parse_stored(config, {key: value for key, value in own.items() if value is not None}, build=False)
    if run.config.model.class_path != composed.config.model.class_path:
        name = run.config.run.name
        raise SettingsError(
            f"the checkpoint {checkpoint} is of a run of {name}, but the method is {method}; give the method of the "
            f"run: {name}"
        )
    return run
