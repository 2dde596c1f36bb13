"""The manual's list of files that are read has every form as messages say it, and each sentence is said somewhere."""

import re

from fsbench.base.paths import REPOSITORY
from fsbench.data.file_rules import RULES
from fsbench.data.picture_file import LABEL_MAP, OWN_PHOTO


def test_the_page_has_every_form_that_is_read() -> None:
    text = (REPOSITORY / "docs/guides/files.md").read_text()
    assert all(f"| {form.expected} |" in text for form in (OWN_PHOTO, LABEL_MAP))


def test_every_sentence_is_said_somewhere() -> None:
    sources = "".join(
        path.read_text() for folder in ("fsbench", "datamodules") for path in (REPOSITORY / folder).rglob("*.py")
    )
    assert all(re.search(rf'"{name}"(?!: ")', sources) for name in RULES)
