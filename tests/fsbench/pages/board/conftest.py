"""Bundles of made records, of several data sets, methods and cards."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fsbench.records.record import Record
from fsbench.runner.exchange.bundle import write_bundle
from tests.fsbench.runner.exchange.test_bundle import cards_of
from tests.fsbench.runs import rewrite


def finished(record: Record, dataset: str | None = None, year: str = "2024", **run: Any) -> Record:
    """Complete a made record: a year, and the name of a data set."""
    header = {} if dataset is None else {"dataset": dataset}
    return rewrite(record, header=header, provenance={"finished": f"{year}-02-03T04:05:06+00:00"}, **run)


def bundle_writer(folder: Path) -> Callable[..., Path]:
    """write(name, records, **card) -> the bundle in `folder`, which is made."""
    folder.mkdir()

    def write(name: str, records: Sequence[Record], **card: Any) -> Path:
        file = folder / f"{name}.fsb"
        write_bundle(records, cards_of(records, **card), "CC-BY-4.0", "fsbench 1", file)
        return file

    return write


@pytest.fixture
def hand_in(tmp_path: Path) -> Callable[..., Path]:
    """A writer of bundles in the folder `bundles`, see `bundle_writer`."""
    return bundle_writer(tmp_path / "bundles")
