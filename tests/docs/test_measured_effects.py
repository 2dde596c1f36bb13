"""The guide on how much protocols move shows the tables that the atlas takes its measured effects from."""

from benchmarks.pages import blocks, fill, tables
from fsbench.base.paths import REPOSITORY
from fsbench.results.atlas.effects import EFFECTS


def test_the_tables_of_the_guide_are_the_measured_ones():
    page = (REPOSITORY / "docs/guides/how-much-is-protocol.md").read_text()
    assert fill(page, tables(EFFECTS)) == page and "\n|" not in blocks().sub("", page)
    assert {match[1] for match in blocks().finditer(page)} == set(tables(EFFECTS)) - {"gpu"}
