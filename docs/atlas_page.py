"""Hook of mkdocs: the page of the atlas, which stands beside the manual's pages as `atlas.html`."""

from typing import Any


def on_files(files: Any, config: Any) -> Any:
    """Add the page, made of benchmarks/published/atlas, to the files of the site."""
    from mkdocs.structure.files import File

    from fsbench.pages.report.atlas.page import atlas_page
    from fsbench.results.atlas.atlas import read_atlas

    files.append(File.generated(config, "atlas.html", content=atlas_page(read_atlas())))
    return files
