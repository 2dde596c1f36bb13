"""A transformers that is missing or too old is said to be so."""

import sys
from types import SimpleNamespace

import pytest

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.hub_networks import transformers_class


def test_without_transformers_one_line_says_how_to_get_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r"sam needs transformers, which is not installed; pip install"):
        transformers_class("SamModel", "sam")


@pytest.mark.parametrize("error", [AttributeError("no such class"), ImportError("no such package")])
def test_an_unsuitable_transformers_is_said_to_be_one(monkeypatch, error):
    utils = pytest.importorskip("transformers.utils")

    class Older(SimpleNamespace):
        """A transformers without the class, or without a package that the class needs."""

        def __getattr__(self, name: str) -> object:
            raise error

    monkeypatch.setitem(sys.modules, "transformers", Older(utils=utils))
    with pytest.raises(SettingsError, match=r"no such .*; pip install 'fsbench\[promptable\]'"):
        transformers_class("SamModel", "sam")
