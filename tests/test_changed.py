"""`pytest --changed`: which tests reach a changed file."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fsbench.base.paths import REPOSITORY
from tests.changed import Reach, changed_files, file_words, make_quick

FILES = sorted(path for path in (REPOSITORY / "tests").rglob("test_*.py"))


def reached(*changed: str) -> set[str]:
    """The files of which tests are run whatever their parameters, as paths in the repository."""
    reach = Reach(changed)
    return {path.relative_to(REPOSITORY).as_posix() for path in FILES if reach.some_reach(path)}


@pytest.mark.slow(3)
@pytest.mark.parametrize(
    ("changed", "expected", "others"),
    [
        ("methods/sansa/__init__.py", "tests/methods/test_sansa.py", "tests/fsbench/scores/test_estimate.py"),
        ("configs/methods/sansa.yaml", "tests/methods/test_sansa.py", "tests/fsbench/scores/test_estimate.py"),
        ("fsbench/scores/confusion.py", "tests/fsbench/scores/test_estimate.py", "tests/test_lock.py"),
        ("fsbench/protocols/draws/fscs.py", "tests/fsbench/protocols/test_draws.py", "tests/test_lock.py"),
        ("fsbench/cli/explain.py", "tests/cli/results/test_explain.py", "tests/test_lock.py"),
        ("fsbench/predict/page.py", "tests/fsbench/predict/test_page.py", "tests/cli/run/test_flows.py"),
        ("fsbench/pages/look/base.html", "tests/fsbench/pages/report/test_report.py", "tests/methods/test_persam.py"),
        ("tests/methods/conftest.py", "tests/methods/test_sansa.py", "tests/test_lock.py"),
    ],
)
def test_a_change_is_tested_by_what_reaches_it(changed, expected, others):
    assert all((REPOSITORY / file).is_file() for file in (changed, expected, others))
    found = reached(changed)
    assert expected in found and others not in found


@pytest.mark.slow(3)
def test_no_change_reaches_no_test_and_the_dependencies_all():
    assert not reached()
    assert all(Reach(["pyproject.toml"]).may_reach(path) for path in FILES)


@pytest.mark.slow(3)
@pytest.mark.parametrize(
    ("changed", "most"),
    [
        ("methods/emat.py", 1 / 3),  # the method that examples name
        ("methods/pfenet.py", 1 / 6),
        ("fsbench/protocols/draws/fscs.py", 1 / 3),
        ("fsbench/predict/page.py", 1 / 20),
    ],
)
def test_a_change_is_tested_by_a_small_part(changed, most):
    assert len(reached(changed)) < len(FILES) * most


WORDS = """
import pytest
from fsbench.cli.main import main

OTHERS = ["hsnet"]

def test_names_a_method():
    assert "prototype,emat"

def test_runs_a_command():
    main(["table", "runs"])

def test_says_a_command():
    assert "fsbench explain RUN"

def test_uses_a_data_set():
    assert ["demo"]
"""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("methods/emat.py", {"test_names_a_method"}),
        ("fsbench/cli/table.py", {"test_runs_a_command"}),
        ("fsbench/cli/explain.py", {"test_says_a_command"}),
        ("datamodules/datasets/demo/__init__.py", {"test_uses_a_data_set"}),
        ("configs/methods/hsnet.yaml", {"shared"}),
        ("fsbench/cli/demo.py", set()),
    ],
)
def test_a_test_is_chosen_by_its_own_words_and_by_those_that_all_share(changed, expected, tmp_path):
    file = tmp_path / "test_words.py"
    file.write_text(WORDS)
    words, reach = file_words(file), Reach([changed])
    assert {name for name, own in words.of_tests.items() if reach._are_reached(own)} == expected - {"shared"}
    assert reach._are_reached(words.shared) == ("shared" in expected)


def test_a_slow_member_of_a_family_is_quick_and_a_slow_test_slow():
    slow, member = pytest.mark.slow(5).mark, pytest.mark.slow.mark
    item = SimpleNamespace(callspec=SimpleNamespace(marks=[member]), own_markers=[slow, member])
    make_quick(item)
    assert item.own_markers == [slow]


def test_what_is_no_commit_is_refused():
    for word in ("nosuch", "tests/methods", "HEAD:tests"):
        with pytest.raises(pytest.UsageError, match=rf"--changed: '{word}' is no commit"):
            changed_files(word)
    assert all(not Path(file).is_absolute() for file in changed_files("HEAD"))
