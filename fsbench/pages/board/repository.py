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


def write_repository(folder: Path) -> list[str]:
    """Write the files of a new git repository for a leaderboard; return their paths, relative to the folder.

    Raises SettingsError if the folder holds other files than the .git of a fresh clone.
    """
    if folder.is_file() or (folder.is_dir() and {path.name for path in folder.iterdir()} - {".git"}):
        raise SettingsError(f"{folder} holds something already; expected a new folder for the repository")
    texts = {place: (FILES / name).read_text().replace("@VERSION@", __version__) for name, place in PLACES.items()}
    texts["card.example.yaml"] = CHOICES
    for place, text in texts.items():
        make_folder((folder / place).parent)
        write_text(folder / place, text)
    return sorted(texts)
