"""The README's example is a method that runs beside the others, and its links lead somewhere."""

import re
import shutil

import pytest

from fsbench.paths import REPOSITORY
from fsbench.records import find_records

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
CODE = ("fsbench", "methods", "datamodules", "configs")


def test_example_method_is_short():
    assert list(EXAMPLES) == ["methods/nearest.py", "configs/methods/nearest.yaml"]
    lines = EXAMPLES["methods/nearest.py"].splitlines()
    assert len([line for line in lines if line.strip()]) <= 40


@pytest.mark.slow
def test_example_method_runs_from_the_command_line(fsbench, bench_arguments, tmp_path):
    """In a copy of the repository with the two files of the example: a working folder goes before what is installed."""
    for name in CODE:
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in EXAMPLES.items():
        (tmp_path / path).write_text(text)
    done = fsbench(*bench_arguments("nearest", "runs"))
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    assert record.path.name.startswith("nearest-") and 0 < record.run["scores"]["mIoU"] < 100
    assert "nearest" in done.stdout


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (REPOSITORY / target).exists(), f"README.md links to {target}"
