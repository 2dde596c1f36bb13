"""The page of speed shows what the committed results hold."""

import pytest

from benchmarks.speed.table import BLOCK, PAGE, filled, tables
from fsbench.errors import DataError


def test_the_committed_page_equals_what_the_generator_writes():
    page = PAGE.read_text()
    assert filled(page) == page
    assert {match[1] for match in BLOCK.finditer(page)} == set(tables())


def test_no_table_is_typed_outside_of_the_blocks():
    assert "\n|" not in BLOCK.sub("", PAGE.read_text())


def test_a_figure_that_was_typed_is_replaced():
    page = PAGE.read_text()
    assert "| 20x as fast" in page
    assert filled(page.replace("| 20x as fast", "| 36x as fast")) == page


def test_an_unknown_table_is_named():
    with pytest.raises(DataError, match="names the table nothing; expected one of"):
        filled("<!-- results: nothing -->\n<!-- end -->")
