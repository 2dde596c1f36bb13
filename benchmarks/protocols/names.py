"""Names of methods in tables of several protocols: with what tells a method's runs apart, the same under each."""

from collections.abc import Sequence

from fsbench.records.card import Cards
from fsbench.records.grouping import comparable, variants_of_groups
from fsbench.records.record import Record


def labelled_groups(records: Sequence[Record]) -> list[tuple[list[Record], dict[str, list[Record]]]]:
    """Return the groups of runs that may be compared, each with its runs by label, see `variants_of_groups`."""
    groups = comparable(records)
    return list(zip(groups, variants_of_groups(groups, _weights), strict=True))


def labels(records: Sequence[Record]) -> dict[str, str]:
    """Return the names of methods by the ids of their runs; those trained on the test's classes say so."""
    cards = Cards()
    strict: list[Record] = []
    in_domain: list[Record] = []
    for record in records:
        (in_domain if cards.run_card(record).novel_pixels == "labelled" else strict).append(record)
    return {
        record.run.id: label + ending
        for some, ending in ((strict, ""), (in_domain, ", in domain"))
        for _, labelled in labelled_groups(some)
        for label, members in labelled.items()
        for record in members
    }


def _weights(record: Record) -> str:
    """Return the word for the checkpoint of a run, the first digits of its hash; empty where there is none."""
    checkpoint = (record.run.identity.training or {}).get("checkpoint_sha256")
    return f"weights {checkpoint[:10]}" if checkpoint else ""
