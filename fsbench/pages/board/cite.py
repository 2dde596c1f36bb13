"""Entries of BibTeX by which a row of the leaderboard is cited."""

from fsbench.base.terminal import one_line
from fsbench.pages.board.rows import Row
from fsbench.results.sheets.latex import tex


def cite_record(row: Row) -> str:
    """Return a BibTeX entry for a row's runs, which are identified by the hash of their bundle."""
    titles = sorted(cell.test.title for cell in row.cells.values())
    more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    listing = row.bundle.listing
    fields = {
        "title": f"{row.label}, {row.backbone}: records of {titles[0].replace(' · ', ', ')}{more}",
        "year": row.finished[:4],
        "howpublished": f"Bundle of {listing.made_by}, licence {listing.licence}",
        "note": f"sha256 {row.bundle.sha256}",
    }
    lines = [f"  {name} = {{{_value(text)}}}," for name, text in fields.items() if text]
    return "\n".join([f"@misc{{fsbench-{row.id},", *lines, "}"])


def _value(text: str) -> str:
    r"""Return a text as a value between braces: BibTeX counts those within, even the escaped ``\{`` and ``\}``."""
    return tex(one_line(text, 600)).replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")
