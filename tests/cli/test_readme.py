"""The README's example is a method that runs beside the others, and its links lead somewhere."""

import re
import shutil

import pytest

from fsbench.paths import REPOSITORY
from fsbench.records import find_records
from tests.documents import DOCUMENTS

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


def headings(text: str) -> set[str]:
    """Anchors that a page of Markdown has, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    """Pages, images and anchors, as in the repository; those of the site are checked where it is built."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in headings(file.read_text(encoding="utf-8")), f"{page.name} links to #{anchor}"
