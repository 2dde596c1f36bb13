"""Evaluation settings of the FS-CS protocol."""

from fsbench.base.errors import known_names

SIZE_BINS = {"0-5": (0.0, 0.05), "5-10": (0.05, 0.10), "10-15": (0.10, 0.15), "0-15": (0.0, 0.15)}
"""Size-restricted splits: share of an image's pixels, void included, in [lower, upper) (fscs-protocol §2.2)."""

SETTINGS = ("original", "partially_augmented", "fully_augmented", *SIZE_BINS)
"""All settings; the last ones are the size-restricted splits."""


def unknown_setting(name: str) -> str:
    """Return the error message for a setting's name that is not in `SETTINGS`."""
    return f"unknown setting '{name}'{known_names(name, SETTINGS)}"
