"""The README as a page of the site, so that it is written once and links to it are checked like all others."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGE = "manual.md"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the page; what it links to outside docs/ is no part of the site and stays as text."""
    text = (Path(config.config_file_path).parent / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/specs/?\)", "](specs/README.md)", text)
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?:benchmarks|configs|CITATION|CHANGELOG|LICENSE)[^)]*\)", r"\1", text)
    files.append(File.generated(config, PAGE, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the README, which lies a folder above docs/, go to that page."""
    return re.sub(r"\]\(\.\./((?:\.\./)*)README\.md", rf"](\1{PAGE}", markdown)
