"""Messages are of one length, whatever a file holds: names, run lengths and numbers without end."""

import pytest

from fsbench.base.errors import DataError, FsbenchError, SettingsError, exit_status, known_names, user_message
from fsbench.base.terminal import LONGEST, one_line, shorten


@pytest.mark.parametrize("text", ["x" * 5000, "\x1b" * 900, "é" * 1499, "\U000e0001" * 5000, "short", ""], ids=range(6))
def test_a_line_has_an_end(text, capsys):
    """An escape of a character is up to ten characters, and counts."""
    assert len(one_line(text)) <= LONGEST and len(one_line(text, 60)) <= 60
    error = FsbenchError(f"{text} at the start", f"  and {text} below")
    for shown in (str(error), user_message(error)):
        assert all(len(line) <= LONGEST + 2 for line in shown.splitlines())
    assert str(error).endswith(" below") and user_message(error).endswith(" below")  # the middle is left out

    def fail() -> int:
        raise error

    assert exit_status(fail, debug=False) == 2
    assert max(map(len, capsys.readouterr().err.splitlines())) <= LONGEST + 20


def test_what_is_short_enough_stays():
    text = "a" * LONGEST
    assert shorten(text) == text and str(DataError(text)) == text and one_line(text) == text
    assert len(shorten(text + "b")) == LONGEST and shorten(text + "b").endswith("b")
    assert len(str(SettingsError(f"unknown{known_names('x', [f'name{n}' for n in range(5000)])}"))) == LONGEST
