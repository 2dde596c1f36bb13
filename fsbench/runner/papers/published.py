"""The reported scores of our methods, each with the settings that the configuration shipped for it states."""

from pathlib import Path

from fsbench.results.tables.published.scores import FOLDER, PublishedScore, read_published
from fsbench.runner.config.merge import shipped_settings


def published_scores(folder: Path = FOLDER) -> list[PublishedScore]:
    """Read the reported scores of our methods, each with what the configuration shipped for it states.

    Raises DataError for whatever the mapping in `folder` does not know.
    """
    return read_published(shipped_settings, folder)
