"""Entry points of broken packages: one line that names the package and the entry point."""

import sys

import pytest

from fsbench.base import plugins
from fsbench.base.errors import SettingsError
from fsbench.base.plugins import PlugIn, load_entry_point, plug_in_part


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (0, "raise SystemExit(3)", "SystemExit: 3"),
        (1, "raise KeyError('weights')", "KeyError: 'weights'"),
        (2, "raise ValueError('first\\nsecond')", "ValueError: first"),
        (3, "def f(:", "SyntaxError"),
        (4, "import a_package_that_nobody_has", "No module named 'a_package_that_nobody_has'"),
        (5, "Other = 1", "has no attribute 'Mine'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_package(number, code, words, tmp_path, monkeypatch):
    (tmp_path / f"fsb_broken_{number}.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = PlugIn("fsbench.methods", "mine", f"fsb_broken_{number}:Mine", "fsb-broken", "1.2")
    with pytest.raises(SettingsError) as refused:
        load_entry_point(broken)
    message = str(refused.value)
    assert "the entry point mine in fsbench.methods of the package fsb-broken 1.2" in message and words in message
    sys.modules.pop(f"fsb_broken_{number}", None)


def test_a_part_of_another_kind_is_told_from_none(tmp_path, monkeypatch):
    (tmp_path / "fsb_parts.py").write_text("def rule(source):\n    yield source\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    named = PlugIn(plugins.PROTOCOLS_GROUP, "turns", "fsb_parts:rule", "fsb-parts", "1")
    monkeypatch.setattr(plugins, "plug_ins", lambda group: [named])
    assert plug_in_part("other", type) is None and callable(plug_in_part("turns", object))
    with pytest.raises(SettingsError, match=r"rule of .* of the type function; expected an object of the type int"):
        plug_in_part("turns", int)
    with pytest.raises(SettingsError, match="of the type function; expected a class"):
        plug_in_part("turns", type)
