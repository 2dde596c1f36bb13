"""The cards of a bundle as a user gives them, and those to fill in."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.records.card import CHOICES, Card, read_card, shown_entries
from fsbench.records.grouping import grouped
from fsbench.records.record import Record


def read_cards(given: Sequence[str], methods: Sequence[str]) -> dict[str, Card]:
    """Return {method: card} from YAML files that are given for the runs' methods.

    Each is `METHOD=FILE`; or a file that states its method or is for the only one; or a folder of such files, in which
    one without `method` belongs to the method of its name, and those of other methods are ignored.
    """
    cards: dict[str, Card] = {}
    for text in given:
        path, (name, sign, rest) = Path(text), text.partition("=")
        is_folder, is_named = path.is_dir(), bool(sign) and not path.exists()
        for file in sorted(path.glob("*.y*ml")) if is_folder else [Path(rest) if is_named else path]:
            stated, card = read_card(file)
            usual = file.stem if is_folder else methods[0] if len(methods) == 1 else None
            method = name if is_named else stated or usual
            if is_named and stated not in (None, name):
                raise SettingsError(f"{file} is the card of {stated}, expected that of {name}; correct one of them")
            if method is None:
                raise SettingsError(
                    f"{file} does not say which method it describes, expected one of {', '.join(methods)}; give "
                    "--card METHOD=FILE for each, or an entry `method` in each file"
                )
            if is_folder and method not in methods:
                continue
            if method in cards:
                raise SettingsError(f"{file} is a second card of {method}, expected one; leave one out")
            cards[method] = card
    return cards


def new_cards(records: Sequence[Record]) -> dict[str, str]:
    """Return {file name: YAML text} of cards to fill in, one for each method, without what all its records show."""
    by_method = grouped(records, lambda record: record.run.identity.method.name)
    return {
        f"{re.sub('[^A-Za-z0-9._-]+', '-', method).strip('.-') or 'method'}.yaml": _new_card(method, of_method)
        for method, of_method in sorted(by_method.items())
    }


def _new_card(method: str, records: Sequence[Record]) -> str:
    text = re.sub("(?m)^# method: .*", lambda _: f"method: {json.dumps(method)}", CHOICES)
    for name in set.intersection(*({*shown_entries(record)} for record in records)):
        text = re.sub(f"(?m)^{name}: .*", f"# {name}: the records of the runs show it", text)
    return text
