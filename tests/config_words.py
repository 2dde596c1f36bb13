"""A run as the words of a command line."""

from typing import Any

from fsbench.runner.config.run_config import RunConfig


def config_words(run: RunConfig) -> list[str]:
    """Return arguments of `fsbench bench` that make exactly this run, in LightningCLI's form."""
    files = [f"--config={file}" for file in run.files]
    return [*files, *(f"--{key}={_text(value)}" for key, value in run.settings.items()), *run.extra]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else f"[{','.join(value)}]"
