"""The README's example runs as printed, and what the README and the manual name exists: links, files, settings."""

import ast
import importlib
import inspect
import re
import shutil
from pathlib import Path

import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.records.record import find_records
from tests.documents import DOCUMENTS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall(README))
GUIDE = dict(EXAMPLE.findall((REPOSITORY / "docs" / "guides" / "add-a-method.md").read_text(encoding="utf-8")))
CODE = ("fsbench", "methods", "datamodules", "configs")

FILE = re.compile(r"(?<![\w/.<])(?:fsbench|methods|datamodules|configs|benchmarks|tests|docs)/[\w./*{}<>-]+")
"""A path of the repository in running text or in a drawing."""
TO_BE_WRITTEN = re.compile(r"\b(?:nearest|pooled|rivals|tempered|mine|everyimage)\b|[{<]")
"""Marks of files that a reader is told to write, and of names with a blank to be filled in."""

PAGES = {
    "emat": ["emat", "emat_seg"],
    "cst": ["cst", "cst_large", "cst_original"],
    "dcama": ["dcama"],
    "hsnet": ["hsnet"],
    "patnet": ["patnet", "patnet_tfi"],
    "ifa": ["ifa", "ifa_5shot", "ifa_strict"],
    "abcdfss": ["abcdfss", "abcdfss_every"],
    "hmnet": ["hmnet", "hmnet_5shot", "pspnet"],
    "bam": ["bam", "bam_5shot"],
    "hdmnet": ["hdmnet", "hdmnet_5shot"],
    "pfenet": ["pfenet"],
    "vrp-sam": ["vrp_sam"],
    "sansa": ["sansa"],
    "segic": ["segic"],
    "prototype": ["prototype"],
    "classifiers": ["nn", "lp"],
    "fine-tuning": ["ft"],
    "fort": ["fort"],
}
"""Page of docs/methods -> methods whose settings it lists."""


def test_example_method_is_short():
    assert list(EXAMPLES) == ["methods/nearest.py", "configs/methods/nearest.yaml"]
    tree = ast.parse(EXAMPLES["methods/nearest.py"])
    steps = [node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in function.body[1:]]
    assert len(steps) <= 10  # beside a docstring each


def test_the_guide_and_the_template_have_the_same_example():
    assert EXAMPLES.items() <= GUIDE.items()
    template = (REPOSITORY / "docs" / "template" / "mine" / "method.py").read_text(encoding="utf-8")
    assert template.replace("class Mine(", "class Nearest(") == GUIDE["methods/nearest.py"]


def test_readme_is_short_and_narrow():
    """Details belong to the manual; what a terminal prints fits a narrow page."""
    lines = README.splitlines()
    assert len(lines) <= 180
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 120


@pytest.mark.slow(30)
def test_example_method_runs_from_the_command_line(fsbench, bench_arguments, tmp_path):
    """In a copy of the repository with the files of the examples: a working folder goes before what is installed.

    The guide's others are tested in the same way, the one that learns by training it for a step.
    """
    for name in CODE:
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    for path, text in GUIDE.items():
        (tmp_path / path).write_text(text)
    settings = GUIDE["configs/methods/nearest.yaml"]
    names = [Path(path).stem for path in GUIDE if path.startswith("methods/")]
    for name in set(names) - {"nearest"}:
        own = settings.replace("nearest.Nearest", f"{name}.{name.capitalize()}")
        (tmp_path / f"configs/methods/{name}.yaml").write_text(own)
    done = fsbench(*bench_arguments(",".join(names), "runs"))
    assert done.returncode == 0, done.stderr
    records = find_records(tmp_path / "runs")
    assert {record.path.name.partition("-")[0] for record in records} == set(names)
    assert all(0 < record.scores["mIoU"] < 100 for record in records)
    assert all(name in done.stdout for name in names)


def headings(text: str) -> set[str]:
    """Return the anchors of a page of Markdown, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    """Pages, images and anchors, as in the repository; those of the site are checked where it is built."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        if file.name.startswith("atlas.html"):  # made with the site; tests/fsbench/results/atlas follow its links
            continue
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in headings(file.read_text(encoding="utf-8")), f"{page.name} links to #{anchor}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.stem)
def test_named_files_exist(page):
    """Also in drawings: a moved file must be moved in the manual."""
    text = re.sub(r"\]\([^)]*\)|https?://\S+", "", page.read_text(encoding="utf-8"))
    named = {path.rstrip("./") for path in FILE.findall(text) if not TO_BE_WRITTEN.search(path)}
    absent = sorted(path for path in named if not any(REPOSITORY.glob(path)))
    assert not absent, f"{page.name} names {', '.join(absent)}"
    for path, symbol in re.findall(r"`([\w/]+\.py)` \(`(\w+)`", text):
        assert symbol in (REPOSITORY / path).read_text(encoding="utf-8"), f"{page.name} says that {path} has {symbol}"


@pytest.mark.parametrize(
    ("page", "kind"), [("manual.md", "data"), ("manual.md", "backbones"), ("methods/README.md", "methods")]
)
def test_a_page_names_all_there_is_to_choose(page, kind):
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    chosen = {file.stem for file in (CONFIGS / kind).glob("*.yaml") if "." not in file.stem}
    assert not {name for name in chosen if f"`{name}`" not in text}


def test_the_manual_names_all_aliases():
    text = (REPOSITORY / "docs" / "manual.md").read_text(encoding="utf-8")
    aliases = yaml.safe_load((CONFIGS / "aliases.yaml").read_text())
    assert not {alias for alias in aliases if f"`{alias}`" not in text}


@pytest.mark.parametrize("page", PAGES)
def test_settings_of_a_method_are_all_listed(page):
    text = (REPOSITORY / "docs" / "methods" / f"{page}.md").read_text(encoding="utf-8")
    if page == "fort":
        text += (REPOSITORY / "docs" / "methods" / "fine-tuning.md").read_text(encoding="utf-8")
    if page == "fine-tuning":
        text += (REPOSITORY / "docs" / "methods" / "fort.md").read_text(encoding="utf-8")
    for name in PAGES[page]:
        path = yaml.safe_load((CONFIGS / "methods" / f"{name}.yaml").read_text())["model"]["class_path"]
        module, _, kind = path.rpartition(".")
        arguments = set(inspect.signature(getattr(importlib.import_module(module), kind)).parameters) - {"backbone"}
        unlisted = sorted(argument for argument in arguments if f"`--model.{argument}`" not in text)
        assert not unlisted, f"{page}.md does not list {', '.join(unlisted)} of {name}"
