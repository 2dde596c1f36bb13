"""The manual's list of what is read how has every rule, as the code says it."""

import re

from docs.files_page import PAGE, page
from fsbench.base.paths import REPOSITORY
from fsbench.data.file_rules import RULES


def test_the_page_has_every_rule() -> None:
    text = PAGE.read_text()
    assert text == page(), "run: python -m docs.files_page"
    assert all(f"| {rule.what} | {rule.read} |" in text for rule in RULES.values())


def test_every_sentence_is_said_somewhere() -> None:
    sources = "".join(
        path.read_text() for folder in ("fsbench", "datamodules") for path in (REPOSITORY / folder).rglob("*.py")
    )
    said = {name for name, rule in RULES.items() if rule.found}
    used = {name for name in said if re.search(rf'"{name}"(?!: FileRule)', sources)}
    assert said == used
