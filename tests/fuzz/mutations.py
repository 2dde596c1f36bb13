"""Structure-aware mutations of valid files: of values in a tree, then of the bytes that it is written as."""

import copy
import math
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.formats import FORMATS

NASTY: list[Any] = [
    None, True, False, -1, 0, 1.5, 10**30, -(10**30), 2**31, 2**63, math.nan, math.inf, -math.inf, 1e30, 1e308, "",
    " ", "x", "..", "../../etc/passwd", "/dev/zero", "a\nb", "\x1b[31m", "\u202e", "\ufeff", "x" * 5000, "1", "nan",
    [], {}, [[]], [None], {"": None}, [[[[[[]]]]]], {"a": {"b": {"c": []}}}, ["x"] * 50, [0] * 50, "\x00",
]  # fmt: skip
BYTES = [b"", b"\x00", b"\xff", b"\n", b"\r\n", b"\xef\xbb\xbf", b"[" * 3000, b"{" * 3000, b"\xff\xff\xff\xff",
         b"9" * 5000, b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"&a [*a]", b"\x1b[2J", b"\xed\xa0\x80"]  # fmt: skip

place = st.integers(0, 10**6)
tree_step = st.tuples(st.sampled_from(["replace", "delete", "double", "rename", "wrap"]), place, place)
byte_step = st.tuples(st.sampled_from(["flip", "cut", "insert", "remove", "set", "repeat"]), place, place)
cases = st.tuples(st.sampled_from(sorted(FORMATS)), st.lists(tree_step, max_size=3), st.lists(byte_step, max_size=2))
"""A format's name, steps on its tree, steps on its bytes."""


def mutate(name: str, tree_steps: list[Any], byte_steps: list[Any]) -> bytes:
    """Return the content of a mutated file of the format `name`."""
    chosen = FORMATS[name]
    value = copy.deepcopy(chosen.valid)
    if isinstance(value, bytes):
        content = value
        byte_steps = [*byte_steps, *[("set", a, b) for _, a, b in tree_steps]]
    else:
        for step in tree_steps:
            value = _on_tree(value, *step)
        try:
            content = chosen.write(value)
        except (ValueError, RecursionError):  # no file has such a value
            content = b""
    for step in byte_steps:
        content = _on_bytes(content, *step)
    return content


def _slots(value: Any) -> list[tuple[Any, Any]]:
    """List all (container, key) of a tree."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(value, key) for key, _ in pairs] + [slot for _, inner in pairs for slot in _slots(inner)]


def _on_tree(value: Any, step: str, where: int, which: int) -> Any:
    slots = _slots(value)
    nasty = copy.deepcopy(NASTY[which % len(NASTY)])
    if not slots:
        return nasty
    container, key = slots[where % len(slots)]
    if step == "replace":
        container[key] = nasty
    elif step == "delete":
        del container[key]
    elif step == "wrap":
        container[key] = [container[key]]
    elif isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif step == "rename":
        container[f"{key}x" if which % 2 else ""] = container.pop(key)
    else:
        container["more"] = copy.deepcopy(container[key])
    return value


def _on_bytes(content: bytes, step: str, where: int, which: int) -> bytes:
    place = where % (len(content) + 1)
    piece = BYTES[which % len(BYTES)]
    if step == "flip" and place < len(content):
        return content[:place] + bytes([content[place] ^ (1 << which % 8)]) + content[place + 1 :]
    if step == "cut":
        return content[:place]
    if step == "remove":
        return content[:place] + content[place + 1 + which % 20 :]
    if step == "set":
        return content[:place] + piece + content[place + len(piece) :]
    if step == "repeat":
        return content[:place] + content[place : place + 1 + which % 50] * 20 + content[place:]
    return content[:place] + piece + content[place:]
