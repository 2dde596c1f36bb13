"""A repository that bundles are handed in to: files to start from, and the workflow that verifies and publishes."""

from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, write_text
from fsbench.base.version import __version__
from fsbench.records.card import CHOICES

FILES = Path(__file__).with_name("repository_files")

PLACES = {
    "README.md": "README.md",
    "bundles.md": "bundles/README.md",
    "board.yml": ".github/workflows/board.yml",
    "ignored.txt": ".gitignore",
}
"""File of the suite -> where it stands in the repository."""

CARD = "card.example.yaml"


def write_repository(folder: Path) -> list[str]:
    """Write the files of a new git repository for a leaderboard.

    Args:
        folder: a new or empty folder, or a fresh clone, which only holds .git.

    Returns:
        The files that were written, relative to the folder.

    Raises:
        SettingsError: the folder holds other files.
    """
    if folder.is_file() or (folder.is_dir() and {path.name for path in folder.iterdir()} - {".git"}):
        raise SettingsError(f"{folder} holds something already; expected a new folder for the repository")
    texts = {place: (FILES / name).read_text().replace("@VERSION@", __version__) for name, place in PLACES.items()}
    texts[CARD] = CHOICES
    for place, text in texts.items():
        make_folder((folder / place).parent)
        write_text(folder / place, text)
    return sorted(texts)
