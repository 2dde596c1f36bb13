"""The backbone of a run where the user leaves it to what is here: `auto`."""

from fsbench.base.files import is_file
from fsbench.networks.weights.table import PHOTO_NETWORK, usual_path, weight_files
from fsbench.runner.config.merge import merge_files, setting
from fsbench.runner.config.registry import config_files

AUTO = "auto"
"""Backbone that stands for the method's own, or for `PHOTO_NETWORK` where that one's weights are absent."""


def needed_weights(method: str, dataset: str | None = None) -> str | None:
    """Return the name of the backbone weights that a run needs; None if the weights come with fsbench.

    Args:
        method: name of a method, or of an alias for a method with a backbone.
        dataset: the data set, which may set another backbone; None for the method's own.

    Raises:
        SettingsError: a name is unknown, or method and data set are for different tasks.
    """
    found: str | None = setting(merge_files(config_files(method, dataset)), "model.backbone.name")
    return found if found in weight_files() else None


def backbone_at_hand(backbone: str | None, method: str, dataset: str | None = None) -> str | None:
    """Return the name of the backbone to use: `backbone` itself, or what its value `AUTO` stands for.

    With `AUTO` the result is `PHOTO_NETWORK` if the weights of the method's own backbone are missing, those of
    `PHOTO_NETWORK` are installed, and the table of weights lists it as suitable for the method; else None, for the
    method's own backbone.

    Raises:
        SettingsError: `backbone` is `AUTO`, and the method or data set is unknown.
    """
    if backbone != AUTO:
        return backbone
    own, other = needed_weights(method, dataset), usual_path(PHOTO_NETWORK)
    if own is None or is_file(str(usual_path(own))) or other is None or not other.is_file():
        return None
    return PHOTO_NETWORK if method in weight_files()[PHOTO_NETWORK].stands_in_for else None
