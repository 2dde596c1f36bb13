"""The layout of a results repository: a result folder for each method and test, read from a folder or a git checkout.

`<method>/<test>` is a result folder (`fsbench.records.result_folder`): `result.json`, `card.yaml` and a folder for each
run. It holds what a bundle of the method's runs on the test holds, and is verified and shown like one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import make_folder, write_text
from fsbench.base.files.folders import LISTING as WRITTEN
from fsbench.base.files.folders import replacing_folder
from fsbench.records.card import FILE as CARD
from fsbench.records.card import Card, read_card
from fsbench.records.grouping import short_test_name
from fsbench.records.record import Record
from fsbench.records.result_folder import (
    RESULT,
    ResultListing,
    find_result_folders,
    read_listed_run,
    read_result_listing,
)
from fsbench.runner.exchange.bundle import Listing, check_cards, file_hashes, run_contents, write_contents
from fsbench.runner.exchange.cards import method_file_name

NOT_OURS = "expected what fsbench bundle --hub wrote; get the folder again, or take out what was put there"


def write_results(
    records: Sequence[Record],
    cards: Mapping[str, Card],
    licence: str,
    made_by: str,
    out: Path,
    predictions: bool = False,
    replaces: bool = False,
) -> list[Path]:
    """Write a result folder for each method and test below `out`, which may hold others. Equal runs give equal files.

    Args:
        records, cards, licence, made_by, predictions: as of `fsbench.runner.exchange.bundle.write_bundle`.
        out: folder of the results repository.
        replaces: whether runs that are not among `records` may be lost where a result folder is replaced.

    Returns:
        The result folders.

    Raises:
        RecordError, SettingsError: as `write_bundle` does; or two methods would have one folder, or a folder is there
            that holds something else, or runs that are not among `records`.
    """
    check_cards(records, cards)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.run.identity.method.name, short_test_name(record)), []).append(record)
    places: list[Path] = []
    owners: dict[Path, str] = {}
    for method, test in groups:
        home = out / method_file_name(method)
        owner = owners.setdefault(home, _owner(home) or method)
        if owner != method:
            raise SettingsError(
                f"{owner} and {method} would have one folder {home}; expected names that differ in letters and digits; "
                "write them into two repositories"
            )
        folder = home / test
        places.append(folder)
        if not replaces:
            _check_kept(folder, groups[method, test])
    for (method, _), group, folder in zip(groups, groups.values(), places, strict=True):
        contents = run_contents(group, predictions)
        listing = ResultListing(
            made_by=made_by, licence=licence, runs={name: file_hashes(files) for name, files in contents.items()}
        )
        make_folder(folder.parent)
        with replacing_folder(folder, RESULT, "result folder") as new:
            for name, files in contents.items():
                for file, content in files.items():
                    (make_folder(new / name) / file).write_bytes(content)
            write_text(new / CARD, _card_text(method, cards[method]))
            write_text(new / RESULT, json.dumps(listing.model_dump(), indent=2) + "\n")
    return places


def _owner(home: Path) -> str | None:
    """Return the method whose result folders are in a folder, by one of their cards; None where there are none."""
    cards = (folder / CARD for folder in find_result_folders(home) if (folder / CARD).is_file())
    return next((read_card(card)[0] for card in cards), None)


def _check_kept(folder: Path, group: Sequence[Record]) -> None:
    """Raise SettingsError where a result folder would lose runs that are not among those to be written to it."""
    if not (folder / RESULT).is_file():
        return
    lost = sorted(read_result_listing(folder).runs.keys() - {record.run.id for record in group})
    if lost:
        raise SettingsError(
            f"{folder} holds the run {lost[0]}, which is not among those given; expected all runs of the method on "
            f"this test; give {folder}, too, or remove it"
        )


def _card_text(method: str, card: Card) -> str:
    entries = card.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return yaml.safe_dump({"method": method} | entries, sort_keys=False, allow_unicode=True, width=120)


def read_result(folder: Path) -> Listing:
    """Return the listing of a result folder as that of a bundle; its files are those that are listed, and no others.

    Raises RecordError where they are not, or where its card is none.
    """
    return _read(folder)[0]


def pack_result(folder: Path, out: Path) -> None:
    """Write a result folder to a bundle; raises as `read_result`."""
    write_contents(*_read(folder), out)


def _read(folder: Path) -> tuple[Listing, dict[str, dict[str, bytes]]]:
    stated = read_result_listing(folder)
    known = {RESULT, CARD, WRITTEN, *stated.runs}
    others = sorted({path.name for path in folder.iterdir()} - known)
    if others:
        raise RecordError(f"{folder} holds {others[0][:100]!a}, which {RESULT} does not list; {NOT_OURS}")
    linked = [name for name in (RESULT, CARD) if (folder / name).is_symlink()]
    if linked:
        raise RecordError(f"{folder / linked[0]} is a link; {NOT_OURS}")
    contents = {run: read_listed_run(folder, stated, run) for run in stated.runs}
    try:
        method, card = read_card(folder / CARD)
    except SettingsError as error:
        raise RecordError(str(error)) from error
    if method is None:
        raise RecordError(f"{folder / CARD} states no method; expected an entry `method`; {NOT_OURS}")
    runs = {run: dict(stated.runs[run]) for run in contents}
    return Listing(format=2, made_by=stated.made_by, licence=stated.licence, cards={method: card}, runs=runs), contents
