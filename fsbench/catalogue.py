"""What there is to choose from: the folders of configs are the registry."""

from pathlib import Path

from fsbench.errors import SettingsError
from fsbench.paths import CONFIGS


def names(kind: str) -> dict[str, str]:
    """Names in configs/`kind`, with the first comment line of each file."""
    files = sorted((CONFIGS / kind).glob("*.yaml"))
    return {f.stem: f.read_text().split("\n")[0].removeprefix("# ") for f in files if "." not in f.stem}


def config_files(method: str, dataset: str, fast: bool = False) -> list[Path]:
    """base.yaml, the method's, the data set's, what the two need together, and fast.yaml if wanted.

    Raises SettingsError for an unknown method or data set.
    """
    for kind, what, name in (("methods", "method", method), ("data", "data set", dataset)):
        if name not in names(kind):
            raise SettingsError(f"unknown {what} '{name}'; there are: {', '.join(names(kind))} (see: fsbench list)")
    together = CONFIGS / "methods" / f"{method}.{dataset}.yaml"
    files = [CONFIGS / "base.yaml", CONFIGS / "methods" / f"{method}.yaml", CONFIGS / "data" / f"{dataset}.yaml"]
    return files + [together] * together.is_file() + [CONFIGS / "fast.yaml"] * fast
