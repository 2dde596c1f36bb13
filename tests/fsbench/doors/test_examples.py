"""The examples in docstrings of the public interface give what they say, on the demo."""

import doctest

import pytest

from fsbench.doors import training


@pytest.mark.parametrize("module", [training])
def test_examples(module, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.getbasetemp())  # where the demo is drawn once
    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted
