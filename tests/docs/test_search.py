"""The search of the manual: guides before specifications."""

import runpy
from argparse import ArgumentParser
from types import SimpleNamespace

import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.cli.bench import add_run_options

HOOK = runpy.run_path(str(REPOSITORY / "docs/search_rank.py"))["on_page_markdown"]


def rank(path: str) -> float:
    page = SimpleNamespace(file=SimpleNamespace(src_uri=path), meta={})
    assert HOOK("text", page=page, config=None, files=None) == "text"
    return page.meta["search"]["boost"]


def test_guides_come_before_the_reference_and_that_before_specifications():
    guide, reference, spec = map(rank, ("guides/predict.md", "reference/ops.md", "specs/emat.md"))
    assert guide == rank("manual.md") > rank("methods/emat.md") > rank("benchmarks.md") > reference > spec > 0
    assert "docs/search_rank.py" in (REPOSITORY / "mkdocs.yml").read_text()


def test_the_navigation_has_a_page_for_each_row_of_methods():
    fill = runpy.run_path(str(REPOSITORY / "docs/methods_pages.py"))["on_config"]
    nav = [{"Use": ["index.md", {"Methods": ["methods/README.md"]}]}]
    fill({"docs_dir": str(REPOSITORY / "docs"), "nav": nav})
    pages = [path for entry in nav[0]["Use"][1]["Methods"][1:] for path in entry.values()]
    files = (REPOSITORY / "docs" / "methods").glob("*.md")
    assert sorted(pages) == sorted(f"methods/{file.name}" for file in files if file.name != "README.md")


def bench_help() -> str:
    parser = ArgumentParser()
    add_run_options(parser)
    return " ".join(parser.format_help().split())


@pytest.mark.parametrize("file", ["fast.yaml", "fast_classification.yaml"])
def test_the_help_of_a_trial_has_its_number_of_episodes(file):
    episodes = yaml.safe_load((CONFIGS / file).read_text())["data"]["init_args"]["test"]["episodes"]
    assert f"with {episodes} test episodes" in bench_help()
