"""Pickles as data: the values that Python's own reader finds, and nothing else whatever a file asks for."""

import pickle
import random
import resource
import subprocess
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsbench.datamodules.lists.plain_pickle import parse_plain_pickle

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
leaves |= st.binary(max_size=300)
keys = st.integers(-(2**63), 2**63) | st.text() | st.binary()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.dictionaries(keys, inner).map(OrderedDict)
        | st.dictionaries(keys, inner).map(lambda found: defaultdict(list, found))
    ),
    max_leaves=30,
)


@pytest.mark.slow(3)
@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 4))
def test_values_are_those_of_pythons_own_reader(value, protocol):
    """An ordered dictionary equals a plain one."""
    assert parse_plain_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_and_their_numbers_are_read(protocol):
    for kind in ("u1", "i8", ">i4", "f4", "f8", "f2", "bool", "<u2"):
        array = (np.arange(24).reshape(2, 3, 4) % 2).astype(kind)
        content = {"a": array, "twice": [array, array.T, np.asfortranarray(array), array[:0]], "number": array[1, 1, 1]}
        pickled = pickle.dumps(content, protocol)
        found, content = parse_plain_pickle(pickled), pickle.loads(pickled)
        for mine, theirs in zip([found["a"], *found["twice"]], [content["a"], *content["twice"]], strict=True):
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and np.array_equal(mine, theirs)
        assert found["a"] is found["twice"][0]
        assert found["number"] == content["number"] and found["number"].dtype == content["number"].dtype


def with_state(kind: bytes, state: bytes) -> bytes:
    """A pickle of an array whose element type is forged: `kind` its code, `state` the pickled state of the type."""
    dtype = b"cnumpy\ndtype\n(" + kind + b"I00\nI01\ntR" + state
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    return b"\x80\x03" + array + b"(I1\n(I1\nt" + dtype + b"I00\nC\x08AAAAAAAAtb."


OBJECTS = with_state(b"S'O8'\n", b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb")
FORGED = with_state(b"S'i8'\n", b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb").replace(b"NNN", b"N(S'f'\ntN")
DEEP = 300_000
"""Depth of a tuple at which computing its hash overruns the stack and ends the process."""
REFUSED = {
    "objects": (OBJECTS, "an array of 'O8'"),
    "structures": (FORGED, "an array of structures"),
    "huge shape": (pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"), "shape"),
    "negative shape": (pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"), "shape"),
    "memo bomb": (b"\x80\x04]r\xff\xff\xff\xffa.", "damaged|values"),
    "nested key": (b"\x80\x04})" + b"\x85" * DEEP + b"K\x01s.", "tuple as a key"),
    "nested member": (b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.", "tuple as a key"),
    "long integer": (pickle.dumps(1 << 70), "64 bits"),
    "copies": (pickle.dumps([*range(256)], 2)[:-1] + b"c__builtin__\nset\nq\xf0" + b"h\xf0h\x00\x85R0" * 99, "copies"),
    "code": (b"cos\nsystem\n(S'true'\ntR.", "it asks for os.system"),
    "attribute": (b"cbuiltins\nlist.append\n.", "it asks for builtins.list.append"),
    "called value": (b"\x80\x04K\x01)R.", "calls what is no function"),
    "instance": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "the step NEWOBJ"),
    "persistent": (b"P1\n.", "the step PERSID"),
    "state of a function": (b"cnumpy\ndtype\n}b.", "sets the state of what has none"),
    "cut off": (pickle.dumps([1, 2, 3])[:-3], "not enough data"),
    "nothing": (b"", "pickle exhausted"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name != "nested member" else pytest.param(name, marks=pytest.mark.slow(1)) for name in REFUSED]
)
def test_what_is_no_data_is_refused_with_its_reason(name):
    content, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        parse_plain_pickle(content)


def test_nested_lists_are_read_without_recursion():
    depth = 20_000
    value = parse_plain_pickle(b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


def valid() -> list[bytes]:
    """Annotations as data sets have them, and what is refused above."""
    entry = {"category_id": 12, "box": [0.0, 1.5], "mask": np.arange(12, dtype=np.uint8).reshape(3, 4)}
    content = {70: {"val2017/1.jpg": [entry, {**entry, "runs": {"size": [4, 4], "counts": b"04L4"}}]}}
    wholes = (content, OrderedDict({1: [entry], 2: [entry, entry]}))
    whole = [pickle.dumps(value, protocol) for value in wholes for protocol in range(5)]
    return whole + [content for content, _ in REFUSED.values() if len(content) < 10_000]


def mutated(draw: random.Random, content: bytes) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4))):
        place, kind = draw.randrange(len(content) + 1), draw.randrange(5)
        piece = bytes(
            draw.choice(b"()]}.0123abcdehjlqrstuRNKMJIFGUXTBC\x81\x85\x86\x90\x93\x94\xff\x00\x7f") for _ in range(4)
        )
        if kind == 0:
            content = content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + piece[: draw.randint(1, 4)] + content[place:]
        elif kind == 2:
            content = content[:place] + content[place + draw.randint(1, 9) :]
        elif kind == 3:
            end = min(len(content), place + draw.randint(1, 40))
            content = content[:end] + content[place:end] * draw.randint(1, 20) + content[end:]
        else:
            content = content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]
    return content


def read_mutated(seed: int, count: int) -> None:
    """Read mutated pickles within 1 GiB more than the process has; any end but a value or ValueError ends it."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
    draw, contents, outcomes = random.Random(seed), valid(), [0, 0]
    for _ in range(count):
        try:
            parse_plain_pickle(mutated(draw, draw.choice(contents)))
            outcomes[0] += 1
        except ValueError:
            outcomes[1] += 1
    assert min(outcomes) > 10, outcomes
    print("read", *outcomes)


@pytest.mark.slow(1)
def test_mutated_files_end_neither_the_process_nor_its_memory(tmp_path):
    """The reader alone is tested here; `tests/fuzz` gives mutated files of all formats to the data sets."""
    code = "from tests.datamodules.lists.test_plain_pickle import read_mutated; read_mutated(0, 3000)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("read "), (done.returncode, done.stderr[-2000:])
    assert not list(tmp_path.iterdir())
