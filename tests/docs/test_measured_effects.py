"""The guide on how much protocols move shows the tables that the atlas takes its measured effects from."""

from benchmarks.pages import BLOCK, fill, tables
from fsbench.base.paths import REPOSITORY
from fsbench.results.atlas.effects import EFFECTS


def test_the_tables_of_the_guide_are_the_measured_ones():
    page = (REPOSITORY / "docs/guides/how-much-is-protocol.md").read_text()
    assert fill(page, tables(EFFECTS)) == page and "\n|" not in BLOCK.sub("", page)
    assert {match[1] for match in BLOCK.finditer(page)} == set(tables(EFFECTS)) - {"gpu"}
