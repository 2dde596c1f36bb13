"""Write the lists of docs/guides/files.md from the rules on other programs' files, as `python -m docs.files_page`."""

import argparse

from benchmarks.pages import fill, markdown
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY
from fsbench.data.file_rules import SECTIONS, FileRule

PAGE = REPOSITORY / "docs/guides/files.md"


def page() -> str:
    """Return the page with its lists as the rules are now."""
    lists = {title: _list(rules) for title, rules in SECTIONS.items()}
    return fill(PAGE.read_text(), lists)


def _list(rules: dict[str, FileRule]) -> str:
    return markdown([["found", "what is done"], *([rule.what, rule.read] for rule in rules.values())])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    write_text(PAGE, page())
