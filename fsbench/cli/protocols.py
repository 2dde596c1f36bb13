"""`fsbench protocols`: the protocols side by side, and the rows of the atlas that are protocols."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_block, print_line
from fsbench.protocols.registry import ATLAS, load_protocol, protocol_names
from fsbench.results.tables.protocol_text import as_markdown, side_by_side


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"only these; default: all of configs/protocols. {ATLAS}<row> is a row of the atlas with the evidence of "
        f"its conditions, and {ATLAS} lists the rows",
    )
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    parser.set_defaults(function=_protocols)


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:
    width = shutil.get_terminal_size((140, 24)).columns
    if ATLAS in options.names:
        if len(options.names) > 1:
            raise SettingsError(f"{ATLAS} lists the rows of the atlas and takes no names beside it; leave them out")
        print_block("\n".join(_list_rows(width)))
        return 0
    protocols = [load_protocol(name) for name in options.names or protocol_names()]
    if options.format == "markdown":
        print_block(as_markdown(protocols))
        return 0
    print_block(side_by_side(protocols, width))
    for protocol in protocols:
        if protocol.name.startswith(ATLAS):
            print_line("")
            print_block("\n".join(_evidence(protocol.name, width)))
    return 0


def _list_rows(width: int) -> Iterator[str]:
    """Yield the rows of the atlas in lines: those that are protocols, then the others with the reason."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.rows import row_names, why_not_run

    runnable = row_names()
    yield f"{len(runnable)} rows of the atlas can be run:"
    for name in runnable:
        spirit = load_protocol(name).in_spirit
        yield f"  {name}" + ("   (in spirit only)" if spirit else "")
    others = why_not_run()
    yield ""
    yield f"{len(others)} cannot:"
    for row, reason in others.items():
        why = reason.partition(" cannot be run: ")[2]
        yield from textwrap.wrap(
            f"{ATLAS}{row}: {why}", width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )


def _evidence(name: str, width: int) -> Iterator[str]:
    """Yield the conditions of a row, their meanings, and the places in the sources that they were read at."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.rows import row_of
    from fsbench.results.atlas.vocabulary import meaning
    from fsbench.results.atlas.words import LABELS

    row = row_of(name)
    yield f"{name.partition('@')[0]}: {row.program} of {row.repository} at {row.commit}, {row.certainty}"
    yield ""
    for column, label in LABELS.items():
        value = getattr(row, column, None)
        if value is None:
            continue
        words = meaning(column, value)
        text = f"{value}{f': {words}' if words else ''}"
        places = ", ".join(row.places.get(column, ())) or (
            f"follows from {row.absence(column)}" if row.absence(column) else ""
        )
        first, *rest = textwrap.wrap(text + (f" [{places}]" if places else ""), max(width - 34, 40))
        yield f"{label:<32}  {first}"
        yield from (f"{'':<32}  {line}" for line in rest)
    if row.quirks:
        first, *rest = textwrap.wrap(row.quirks, max(width - 34, 40))
        yield f"{'besides':<32}  {first}"
        yield from (f"{'':<32}  {line}" for line in rest)
