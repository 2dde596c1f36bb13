"""Which published weights methods need, as their configuration files say; nothing is built, torch is not loaded."""

from fsbench.config.registry import aliases, config_files, names, read_settings
from fsbench.weights.table import weight_files


def fetch_command(name: str) -> str:
    """Return the command that brings the weights `name`, or says what to do where no program can fetch them."""
    return f"fsbench weights fetch {name}"


def needed_weights(method: str, dataset: str | None = None, backbone: str | None = None) -> str | None:
    """Return the name of the published weights that a run takes; None where they come with the repository.

    Args:
        method: a method or an alias.
        dataset: the data set, which may bring a backbone along; None for the method's own.
        backbone: the backbone that is asked for; None for that of the method or the data set.

    Raises:
        SettingsError: a name is unknown, or method and data set are for different tasks.
    """
    found = None
    for file in config_files(method, dataset, backbone=backbone):
        model = read_settings(file).get("model") or {}
        found = ((model.get("init_args") or {}).get("backbone") or {}).get("name") or found
    return found if found in weight_files() else None


def users() -> dict[str, list[str]]:
    """Return the methods and aliases that take each backbone of the table by themselves."""
    found: dict[str, list[str]] = {name: [] for name in weight_files()}
    for method in [*names("methods"), *aliases()]:
        name = needed_weights(method)
        if name is not None:
            found[name].append(method)
    return found
