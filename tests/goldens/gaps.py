"""Cases that no check knows: the list of those that are known, and what differs from it."""

from collections import Counter
from pathlib import Path

import yaml

from tests.goldens.checks import Outcome


def read_gaps(file: Path) -> Counter[tuple[str, str]]:
    """Read a list of known gaps, folder -> kind -> number of cases, as the number of each folder and kind."""
    folders = yaml.safe_load(file.read_text()) or {}
    return Counter({(folder, kind): n for folder, kinds in folders.items() for kind, n in kinds.items()})


def unlisted_gaps(outcomes: list[Outcome], known: Counter[tuple[str, str]]) -> list[str]:
    """Say in a line each where the cases without a check are not as many as known, in the folders that were looked at.

    A gap that is not listed is as wrong as a listed one that has got its check, so that the list stays true.
    """
    found = Counter((o.folder, o.kind) for o in outcomes if o.verdict == "unknown")
    folders = {o.folder for o in outcomes}
    return [
        f"{folder}/{kind}: {found[folder, kind]} cases without a check, {known[folder, kind]} in the list of known gaps"
        for folder, kind in sorted(found | known)
        if folder in folders and found[folder, kind] != known[folder, kind]
    ]
