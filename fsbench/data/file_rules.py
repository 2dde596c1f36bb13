"""Rules for files that other programs wrote: what is read how, what is refused, in which sentence, and the way out.

Each rule is a row of `RULES`, where `data check`, a run, `predict`, `kit` and `score` find it, and so does the manual.
"""

from typing import NamedTuple

from fsbench.base.errors import DataError


class FileRule(NamedTuple):
    """A rule for something that a file may have.

    Attributes:
        what: the thing, as a noun phrase, for the manual.
        read: what is done with such a file, for the manual.
        found: the sentence's predicate with {fields}, such as "has {pages} pages"; "" where nothing is ever said.
        expected: what would be right; "" for a note, which refuses nothing.
        way_out: what the user can do.
    """

    what: str
    read: str
    found: str = ""
    expected: str = ""
    way_out: str = ""


RULES: dict[str, FileRule] = {}
"""Name of a rule -> the rule."""


def refusal(rule: str, subject: object, **fields: object) -> DataError:
    """Return the error for a file, or a thing in one, that `rule` refuses.

    Args:
        rule: its name in `RULES`.
        subject: what is refused, with its kind: "label map masks/a.png".
        **fields: the values of the rule's {fields}.
    """
    return DataError(remark(rule, subject, **fields))


def remark(rule: str, subject: object, **fields: object) -> str:
    """Return the sentence of `rule` about a `subject`, which is a note where the rule refuses nothing."""
    _, _, found, expected, way_out = RULES[rule]
    told = (found, expected and f"expected {expected}", way_out)
    return f"{subject} " + "; ".join(part.format(**fields) for part in told if part)
