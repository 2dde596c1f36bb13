"""Images are resized, warped and painted in one home each: what versions of PIL and OpenCV do otherwise is met there.

PIL filters an image's axes in an order that depends on its version, OpenCV warps and fills polygons otherwise.
"""

import ast
from collections.abc import Iterator

from fsbench.base.paths import REPOSITORY

PACKAGES = ("fsbench", "methods", "datamodules")
PIL, OPENCV, PAINTER = (f"fsbench/data/{name}.py" for name in ("resizing", "warping", "painting"))
HOMES = {
    "resize": {PIL, OPENCV}, "thumbnail": {PIL}, "warpAffine": {OPENCV}, "warpPerspective": {OPENCV}, "remap": {OPENCV},
    "fillPoly": {PAINTER}, "fillConvexPoly": {PAINTER}, "drawContours": {PAINTER},
}  # fmt: skip
"""Function of OpenCV, or method of PIL's images -> the modules that may call it."""
HARMLESS = {"self", "np", "preparation", "Segmenter"}
"""Owners of a `resize` of their own: of logits, of numpy's, and one that stands on the home's."""


def strays(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield the functions that a module calls, or names of OpenCV's, which are not at home in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in HOMES:
            owner, names = ast.unparse(node.func.value), [node.func.attr]
        elif isinstance(node, ast.ImportFrom):
            owner, names = str(node.module), [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            is_meant = owner == "cv2" or (isinstance(node, ast.Call) and owner not in HARMLESS)
            if is_meant and module not in HOMES.get(name, {module}):
                yield f"{owner}.{name}"


def test_no_module_resizes_warps_or_paints_past_the_home() -> None:
    found = {
        (module, text)
        for package in PACKAGES
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for module in [path.relative_to(REPOSITORY).as_posix()]
        for source in [path.read_text()]
        if any(name in source for name in HOMES)
        for text in strays(module, ast.parse(source))
    }
    assert not found, f"use fsbench.data.resizing, .warping or .painting: {sorted(found)}"


def test_the_walk_finds_what_it_looks_for() -> None:
    source = """
Image.fromarray(a).resize((1, 1)); image.thumbnail((1, 1)); cv2.resize(a, (1, 1)); cv2.warpAffine(a, m, (1, 1))
cv2.fillPoly(a, [p], 1)
from cv2 import remap
"""
    assert len(list(strays("methods/x.py", ast.parse(source)))) == 6
    assert sorted(strays(OPENCV, ast.parse(source))) == ["cv2.fillPoly", "image.thumbnail"]
    harmless = "self.resize(x, 3); np.resize(a, 3); preparation.resize(x); cv2.erode(a, k); resize(x, 3); view.resize"
    assert not list(strays("methods/x.py", ast.parse(harmless)))
