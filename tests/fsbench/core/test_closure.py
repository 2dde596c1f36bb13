"""What one subclasses stands alone: reading it whole is a matter of few files."""

from importlib.util import find_spec
from pathlib import Path

import grimp


def test_a_segmenter_rests_on_few_files():
    """The static imports of the base class of methods, whatever order contracts allow."""
    graph = grimp.build_graph("fsbench", exclude_type_checking_imports=True)
    closure = {"fsbench.core.segmenter", *graph.find_upstream_modules("fsbench.core.segmenter")}
    files = [Path(str(spec.origin)) for name in closure if (spec := find_spec(name))]
    lines = sum(len(file.read_text().splitlines()) for file in files)
    assert len(files) == len(closure) <= 60 and lines <= 10_000, sorted(closure)
