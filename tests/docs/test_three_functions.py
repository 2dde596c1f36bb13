"""docs/architecture.md shows the functions that every door goes through as they are."""

import ast

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="the manual is a clone's")

FUNCTIONS = {
    "fsbench/protocols/counting.py": ["part"],
    "fsbench/protocols/loop.py": ["evaluate_batches", "count_answers"],
    "fsbench/records/writing.py": ["write_record"],
}


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in FUNCTIONS.items() for name in names])
def test_the_page_shows_the_function(file, name):
    source = (REPOSITORY / file).read_text()
    (function, *_) = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == name
    )
    docstring, lines = function.body[0], source.splitlines()
    shown = lines[function.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : function.end_lineno]
    text = "\n".join(line[function.col_offset :] for line in shown)
    assert text in (REPOSITORY / "docs/architecture.md").read_text()
