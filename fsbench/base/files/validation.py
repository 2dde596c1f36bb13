"""Pydantic's errors in words: which entry of a file or a request does not fit, what it is, and what was expected."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic import ValidationError

PREDICATE = "predicate"
"""Type of a validator's own `PydanticCustomError` whose message goes on after the entry's name: "is 3; expected …"."""

LONGEST = 60
"""Characters of a value that are shown."""

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_KINDS = {
    "list_type": "a list", "too_short": "a list of one or more", "dict_type": "a mapping", "model_type": "a mapping",
    "int_type": "a number", "int_from_float": "a whole number", "bool_type": "true or false",
    "string_type": "text", "none_required": "nothing",
}  # fmt: skip
"""Pydantic's types of errors in words of YAML and JSON."""
_SHOULD = re.compile(r"^\w+ should (be |have )?")


def first_problem(
    error: "ValidationError", content: Any = None, keys: Sequence[str] = (), required: Sequence[str] = ()
) -> str:
    """Describe the first problem of a pydantic ValidationError: the entry, its value, and what was expected.

    A wrong name is described before the missing entry that it may have been meant for.

    Args:
        error: what pydantic raised.
        content: the value that was validated, from which the entry's name is found; None to take pydantic's own.
        keys: names that the outermost mapping may have, as suggestions in the message; () for none.
        required: those of `keys` that the mapping must have.
    """
    errors: list[Any] = error.errors(include_url=False)
    first = min(errors, key=lambda one: one["type"] == "missing")
    *outer, name = first["loc"] or ("",)
    if first["type"] == "missing":
        return f"{_entry(outer, content, str(name))} is missing{_listed(required or keys, outer)}"
    if first["type"] in _UNKNOWN:
        near = keys if keys and not outer else [str(one["loc"][-1]) for one in errors if one["type"] == "missing"]
        place = _entry(outer, content)
        hint = did_you_mean(str(name), near) or _listed(keys, outer) or "; leave it out"
        return f"the key {str(name)!r}{f' of {place}' if place else ''} is unknown{hint}"
    place = _entry(first["loc"], content)
    if first["type"] == PREDICATE:
        return f"{place} {first['msg']}".strip()
    if first["type"] == "value_error":
        return f"{place or 'the whole'}: {first['ctx']['error']}"
    same = [one for one in errors if one["type"] != "missing" and _entry(one["loc"], content) == place]
    found = repr(first["input"])
    found = found if len(found) <= LONGEST else f"{found[:LONGEST]}…"
    expected = dict.fromkeys(_KINDS.get(one["type"]) or _SHOULD.sub("", one["msg"]) for one in same)
    return f"{place or 'the whole'} is {found}, expected {' or '.join(expected)}"


def _entry(path: Sequence[str | int], content: Any, more: str = "") -> str:
    """Return the name of an entry, such as `rows[0].method`.

    Args:
        path: as pydantic has it, with the alternatives of types among the keys.
        content: the mapping or list that it leads into; what is not in it is left out of the name. None: not known.
        more: a last key, which need not be there.
    """
    if content is None:
        return ".".join([*map(str, path), *[more] * bool(more)])
    name, value = "", content
    for part in path:
        if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            name, value = f"{name}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            name, value = f"{name}.{part}" if name else str(part), value[part]
    return f"{name}.{more}".strip(".") if more else name


def _listed(keys: Sequence[str], outer: Sequence[str | int]) -> str:
    return f"; expected the keys {', '.join(keys)}" if keys and not outer else ""
