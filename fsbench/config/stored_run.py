"""The `config.yaml` of a finished run, which may be anybody's: only classes of the suite are built from it."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from fsbench.config.compose import SuiteCLI, parse
from fsbench.errors import SettingsError
from fsbench.files.yaml_files import load_yaml

TRUSTED = ("methods.", "datamodules.", "torch.optim.")
"""Beginnings of the class paths that a stored configuration may name."""

BUILT = ("model", "data", "dataset", "optimizer", "lr_scheduler")
"""Keys whose values the parser builds objects of."""

NOT_NEEDED = ("callbacks", "logger", "plugins", "profiler", "strategy", "accelerator")
"""Settings of the trainer that name classes; who opens a run trains nothing."""


def parse_stored(config: Path, more: Sequence[str] = (), build: bool = True) -> SuiteCLI:
    """Compose the configuration of a finished run.

    Args:
        config: its config.yaml.
        more: arguments in LightningCLI's form on top.
        build: whether to build model and data module, too.

    Raises:
        SettingsError: the file is none of a run, or names a class that is not the suite's.
    """
    try:
        values = load_yaml(config)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {config} ({error}); expected the config.yaml of a run") from error
    if not isinstance(values, dict) or not isinstance(values.get("trainer"), dict):
        raise SettingsError(f"{config} holds no configuration with a trainer; expected the config.yaml of a run")
    values["trainer"] = {key: value for key, value in values["trainer"].items() if key not in NOT_NEEDED}
    for name in _class_paths(values):
        if not isinstance(name, str) or not name.startswith(TRUSTED):
            raise SettingsError(
                f"{config} names the class {str(name)!r}, which is none of fsbench's; expected methods and data of "
                "this suite; nothing of it was loaded"
            )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(values))
        return parse([f"--config={file}", *more], build)


def _class_paths(values: Any) -> Iterator[Any]:
    """Yield whatever the parser would take for the name of a class, wherever it stands."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key == "class_path" or (key in BUILT and value is not None and not isinstance(value, dict)):
                yield value
            yield from _class_paths(value)
    elif isinstance(values, list):
        for value in values:
            yield from _class_paths(value)
