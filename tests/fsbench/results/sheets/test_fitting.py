"""Names in tables of few characters."""

from fsbench.results.sheets.fitting import fit
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table


def test_long_marks_cut_no_short_name():
    columns = [Column("method", Form.NAME), Column("mIoU")]
    lines = [Line([Cell("mine", mark="† [handed in]"), Cell(50.0)]), Line([Cell("m" * 30), Cell(40.0)])]
    (table,) = fit(Sheet("", [Table(columns, lines)]), 20).sheet.tables
    assert table.lines[0].cells[0].value == "mine"
