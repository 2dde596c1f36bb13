"""Weights & Biases is imported in one place, where a run logs to it."""

import ast

from fsbench.base.paths import REPOSITORY


def test_who_imports_it():
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for package in ("fsbench", "methods", "datamodules")
        for path in (REPOSITORY / package).rglob("*.py")
        if "wandb" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "wandb" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "wandb")
    }
    assert found == {"fsbench/runner/engine/loggers.py"}
