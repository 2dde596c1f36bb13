"""The manual's list of what is read how has every rule, as the code says it."""

from docs.files_page import PAGE, page
from fsbench.data.file_rules import RULES


def test_the_page_has_every_rule() -> None:
    text = PAGE.read_text()
    assert text == page(), "run: python -m docs.files_page"
    assert all(f"| {rule.what} | {rule.read} |" in text for rule in RULES.values())
