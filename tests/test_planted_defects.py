"""The planted defects are still in the code's words, and what comes of one is told."""

import pytest
import yaml

from fsbench.base.paths import REPOSITORY
from tests.planted_defects import DEFECTS, main, plant

AREAS = yaml.safe_load(DEFECTS.read_text())


@pytest.mark.parametrize("area", AREAS)
def test_each_has_one_place_and_tests(area):
    for defect in AREAS[area]["defects"]:
        assert (REPOSITORY / defect["file"]).read_text().count(defect["old"]) == 1, defect
    assert AREAS[area]["tests"] and all((REPOSITORY / test).exists() for test in AREAS[area]["tests"])


def test_they_are_many_and_half_of_them_move_a_number():
    defects = [defect for area in AREAS.values() for defect in area["defects"]]
    assert len(defects) >= 70 and 2 * sum(defect.get("moved", False) for defect in defects) >= len(defects)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1 + a", "2 + a", "found"),
        pytest.param("= 3", "= 4", "missed", marks=pytest.mark.slow(1)),
        ("1 - a", "", "stale"),
    ],
)
def test_a_defect_is_found_missed_or_no_longer_there(tmp_path, old, new, words):
    for name, text in (
        ("benchmarks/__init__.py", "UNUSED = 3\n\n\ndef more(a):\n    return 1 + a\n"),
        ("tests/test_sums.py", "from benchmarks import more\n\n\ndef test_more():\n    assert more(1) == 2\n"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    outcome = plant(tmp_path, {"file": "benchmarks/__init__.py", "old": old, "new": new}, ["tests", "tests/gone"])
    assert outcome.words == words and ("test_more" in outcome.by) == (words == "found")


def test_a_defect_is_not_found_where_the_tests_do_not_run(tmp_path):
    """As where pytest is not installed: Python ends with 1, as for a test that fails."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text("raise SystemExit('no tests today')\n")
    outcome = plant(tmp_path, {"file": "tests/conftest.py", "old": "today", "new": "either"}, ["tests"])
    assert outcome.words == "pytest ended with 1"


def test_unknown_areas_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["samplers"])
    assert stopped.value.code == 2 and "expected some of sampler, void" in capsys.readouterr().err
