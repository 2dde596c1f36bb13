"""`pytest --changed`: which files of tests reach a changed file."""

from pathlib import Path

import pytest

from fsbench.paths import REPOSITORY
from tests.changed import Reach, changed_files

FILES = sorted(path for path in (REPOSITORY / "tests").rglob("test_*.py"))


def reached(*changed: str) -> set[str]:
    """The files of tests that are run, as paths in the repository."""
    reach = Reach(changed)
    return {path.relative_to(REPOSITORY).as_posix() for path in FILES if reach.file_reaches(path)}


@pytest.mark.parametrize(
    ("changed", "expected", "others"),
    [
        ("methods/sansa/__init__.py", "tests/methods/test_sansa.py", "tests/fsbench/metrics/test_paired.py"),
        ("configs/methods/sansa.yaml", "tests/methods/test_sansa.py", "tests/fsbench/metrics/test_paired.py"),
        ("fsbench/metrics/confusion.py", "tests/fsbench/metrics/test_paired.py", "tests/test_lock.py"),
        ("fsbench/cli/explain.py", "tests/cli/results/test_explain.py", "tests/test_lock.py"),
        ("fsbench/report/templates/base.html", "tests/fsbench/report/test_report.py", "tests/methods/test_persam.py"),
        ("tests/goldens/kinds/sansa.py", "tests/goldens/test_goldens.py", "tests/methods/test_persam.py"),
        ("tests/methods/conftest.py", "tests/methods/test_sansa.py", "tests/test_lock.py"),
    ],
)
def test_a_change_is_tested_by_what_reaches_it(changed, expected, others):
    assert all((REPOSITORY / file).is_file() for file in (changed, expected, others))
    found = reached(changed)
    assert expected in found and others not in found


def test_no_change_reaches_no_test_and_the_dependencies_all():
    assert not reached()
    assert all(Reach(["pyproject.toml"]).may_reach(path) for path in FILES)


def test_a_method_is_tested_by_a_small_part():
    assert len(reached("methods/emat.py")) < len(FILES) / 3


def test_what_is_no_commit_is_refused():
    with pytest.raises(pytest.UsageError, match=r"--changed: .*nosuch"):
        changed_files("nosuch")
    assert all(not Path(file).is_absolute() for file in changed_files("HEAD"))
