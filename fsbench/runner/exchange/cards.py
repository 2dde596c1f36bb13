"""The cards of a bundle as a user gives them: a file for one method, one for each of several, or a folder of files."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.records.card import CHOICES, Card, proved_entries, read_card
from fsbench.records.record import Record


def read_cards(given: Sequence[str], methods: Sequence[str]) -> dict[str, Card]:
    """Return {method: card} from YAML files; a card says how a method was trained and what it is given.

    Args:
        given: each `METHOD=FILE`; or a file that states its method or is for the only method; or a folder of such
            files, in which a file without `method` belongs to the method of its name, and files of other methods are
            ignored.
        methods: names of the runs' methods.

    Raises:
        SettingsError: a file cannot be read or is no valid card, its method is unknown, or a method has two cards.
    """
    cards: dict[str, Card] = {}
    for text in given:
        path, (name, sign, rest) = Path(text), text.partition("=")
        if path.is_dir():
            files = [(file, "", file.stem) for file in sorted(path.glob("*.y*ml"))]
        elif sign and not path.exists():
            files = [(Path(rest), name, "")]
        else:
            files = [(path, "", methods[0] if len(methods) == 1 else "")]
        found = 0
        for file, given_name, default_name in files:
            stated, card = read_card(file)
            if given_name and stated not in (None, given_name):
                raise SettingsError(
                    f"{file} says that it is the card of {stated}, but was given as that of {given_name}; correct "
                    "one of them"
                )
            method = given_name or stated or default_name
            if not method:
                raise SettingsError(
                    f"{file} does not say which method it describes, and the runs have {len(methods)} "
                    f"({', '.join(methods)}); expected --card METHOD=FILE for each, or an entry `method` in each file"
                )
            if path.is_dir() and method not in methods:
                continue
            if method in cards:
                raise SettingsError(
                    f"{file} is a second card of {method}; expected one card for each method; leave one out"
                )
            cards[method] = card
            found += 1
        if not found:
            raise SettingsError(f"--card {text} has no card of {', '.join(methods)}; expected METHOD.yaml for each")
    return cards


def new_cards(records: Sequence[Record]) -> dict[str, str]:
    """Return {file name: YAML text} of cards to fill in, one for each method; a card states how a method was trained.

    A card leaves out the entries that all records of the method prove with the same value.
    """
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.run.identity.method.name, []).append(record)
    return {
        f"{re.sub('[^A-Za-z0-9._-]+', '-', method).strip('.-') or 'method'}.yaml": _new_card(method, of_method)
        for method, of_method in sorted(by_method.items())
    }


def _new_card(method: str, records: Sequence[Record]) -> str:
    first, *others = (proved_entries(record) for record in records)
    proved = {name for name in first if all(name in other for other in others)}
    lines = []
    for line in CHOICES.splitlines():
        name = line.removeprefix("# ").partition(":")[0]
        if name == "method":
            line = f"method: {json.dumps(method)}"
        elif name in proved and not line.startswith("#"):
            line = f"# {name}: the records of the runs show it"
        lines.append(line)
    return "\n".join(lines) + "\n"
