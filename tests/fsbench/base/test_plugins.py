"""Entry points of broken packages: one line that names the package and the entry point."""

import sys

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.plugins import PlugIn, load_entry_point


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
