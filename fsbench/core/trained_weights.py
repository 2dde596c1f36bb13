"""What a checkpoint is compared with before its weights are taken: the method, its backbone, and the test."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.released_format import ADAPTED_TO, TRAINED_BEFORE, TRAINED_ON, WRITTEN_BY
from fsbench.core.stated_variant import STATED, check_stated
from fsbench.networks.weights.files import check_keys, fit_unwrapped

if TYPE_CHECKING:
    from fsbench.core.method import Method


class TrainedWeights(NamedTuple):
    """Weights of a checkpoint that fit a method.

    Attributes:
        learned: {name: tensor} of the method's own weights.
        backbone: {name: tensor} of the frozen backbone in an authors' checkpoint; empty in others.
        without: settings of the checkpoint's training that the method now lacks.
        is_stated: whether the settings that an authors' checkpoint does not show are stated beside it; None for other
            checkpoints.
    """

    learned: dict[str, Tensor]
    backbone: dict[str, Tensor]
    without: dict[str, Any]
    is_stated: bool | None


def fit_weights(
    method: "Method", content: Mapping[str, Any], image_size: int | None, path: Path | None
) -> TrainedWeights:
    """Return the weights of a checkpoint; CheckpointError unless it was trained as `method` is built.

    Args:
        method: the method.
        content: content of the checkpoint, fsbench's or the authors'.
        image_size: side of the images that the method gets; None if it is not known yet.
        path: the file, beside which an authors' program states settings; None if it is not known.
    """
    written_by = content.get(WRITTEN_BY, {})
    name = written_by.get("method")  # None in a converted file, which does not tell
    whose = checkpoint_words(path) + (f" (of {name})" if name else "")

    def fit(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        learned, backbone = method.released_format.split(state) or (state, {})
        learned, without = method.filter_state_dict(learned, whose)
        if method.strict_loading:
            check_keys(method.state_dict(), learned, whose)
        return learned, backbone, without

    learned, backbone, without = fit_unwrapped(content["state_dict"], fit, whose)
    is_stated = None
    stated_beside, converted = method.released_format.stated, written_by.get(STATED)
    if stated_beside is not None and ((backbone and path is not None) or isinstance(converted, dict)):
        stated = stated_beside(path) if backbone and path is not None else converted
        settings = method.checkpoint_settings() | ({} if image_size is None else {"image_size": image_size})
        is_stated = check_stated(method.registry_name, settings, stated, whose)
    mine = method.describe()
    if name and (name, written_by.get("settings")) != (mine["method"], mine["settings"] | without):
        raise CheckpointError(
            f"{whose} was trained with {written_by.get('settings')}; expected {mine['method']} with "
            f"{mine['settings']}; give the checkpoint of the method that is evaluated"
        )
    if "backbone_sha256" in written_by and written_by["backbone_sha256"] != mine["backbone_sha256"]:
        raise CheckpointError(
            f"{whose} was trained on the backbone weights '{written_by.get('backbone')}', but those in use are "
            f"'{mine['backbone']}'; give the same ones with --weights FILE"
        )
    return TrainedWeights(learned, backbone, without, is_stated)


def check_training(content: Mapping[str, Any], data: Any, whose: str) -> None:
    """Raise SettingsError if weights learned from classes or images of the test of `data`.

    Args:
        content: entries of a checkpoint; what it does not say is believed.
        data: the data module, or another object with its `check_unseen`.
        whose: words for the checkpoint, for messages.
    """
    if adapted := content.get(ADAPTED_TO):
        raise SettingsError(
            f"{whose} was adapted to {adapted['labelled_images']} labelled images a class of {adapted['dataset']}, "
            "which its rows could not say; give the best.ckpt of its training"
        )
    for trained_on in (content.get(TRAINED_ON), *content.get(TRAINED_BEFORE, ())):
        if trained_on:
            data.check_unseen(trained_on, whose)


def checkpoint_words(path: Path | None) -> str:
    return "the checkpoint" if path is None else f"the checkpoint {path}"
