"""The manual's lists of what files state are those of the code, and every entry that a file has is a line."""

from docs.statements_page import FILES, PAGE, page
from fsbench.protocols.kit.kit import Kit
from fsbench.runner.exchange.bundle import Listing


def test_the_page_has_every_statement() -> None:
    assert PAGE.read_text() == page(), "run: python -m docs.statements_page"


def test_every_entry_of_kits_and_bundles_is_held_against_something() -> None:
    assert FILES["kit"].keys() == Kit.model_fields.keys() - {"classes"}  # no kit states them
    assert FILES["bundle"].keys() == Listing.model_fields.keys()
