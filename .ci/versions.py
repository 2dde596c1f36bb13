"""Run chosen tests under the lowest and the newest version of each package that has a say in numbers.

    python .ci/versions.py                 # all, some minutes for each version
    python .ci/versions.py pillow polars   # these

The versions are those that the bounds of pyproject.toml allow. One package moves at a time: it, and whatever pip would
change beside it in an installation of the suite, lies in a temporary folder before the installed packages. A test that
passes with the installed versions and not with these is named, and the exit status is 1.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from lowest import PROJECT, lowest, requirements

AXES = {
    "numpy": ("numpy",),
    "pillow": ("pillow",),
    "opencv": ("opencv-python-headless",),
    "simplejpeg": ("simplejpeg",),
    "pycocotools": ("pycocotools",),
    "polars": ("polars",),
    "pydantic": ("pydantic",),
    "scipy": ("scipy",),
    "scikit-learn": ("scikit-learn",),
    "scikit-image": ("scikit-image",),
    "simpleitk": ("SimpleITK",),
    "timm": ("timm",),
    "einops": ("einops",),
    "torchmetrics": ("torchmetrics",),
    "peft": ("peft",),
    "transformers": ("transformers",),
    "torch": ("torch", "torchvision"),
}
"""Packages that move, by the name of their axis; several where one is compiled for the other."""

SUITE = ("", "run")
"""The project and the extra that every run needs."""

TESTS = (
    "tests/frozen/test_counts.py",
    "tests/frozen/test_manifests.py",
    "tests/goldens/test_goldens.py",
    "tests/datamodules/datasets/test_coco.py",
    "tests/datamodules/datasets/test_folder_files.py",
    "tests/datamodules/datasets/test_object_annotations.py",
    "tests/datamodules/datasets/test_own_lvis_file.py",
    "tests/datamodules/datasets/test_volumes.py",
    "tests/datamodules/loading/test_augment.py",
    "tests/datamodules/loading/test_superpixels.py",
    "tests/datamodules/loading/test_whole_images.py",
    "tests/fsbench/core/test_images_together.py",
    "tests/fsbench/data/test_image_io.py",
    "tests/fsbench/data/test_label_maps.py",
    "tests/fsbench/data/test_painting.py",
    "tests/fsbench/data/test_palettes.py",
    "tests/fsbench/data/test_resizing.py",
    "tests/fsbench/data/test_segmentations.py",
    "tests/fsbench/data/test_transforms.py",
    "tests/fsbench/data/test_volume_geometry.py",
    "tests/fsbench/data/test_volume_io.py",
    "tests/fsbench/data/test_warping.py",
    "tests/fsbench/networks/ops/test_average_linkage.py",
    "tests/fsbench/data/labelled/test_labelme.py",
    "tests/fsbench/protocols/test_notebook_view.py",
    "tests/fsbench/records/test_predictions.py",
    "tests/methods/classifiers/test_fine_tuning.py",
)
"""Frozen episodes and counts, goldens, and the readers of every format."""

TABLES = ("tests/frozen/test_tables.py", "tests/fsbench/records/test_tables.py")
"""Frozen scores, of packages that know no pictures and no networks."""
OF_TABLES = ("numpy", "polars", "pydantic")
"""Axes that move these packages."""


class Cell(NamedTuple):
    """A row of the table.

    Attributes:
        axis: which package moves.
        end: lowest or newest.
        versions: the packages that are other ones than installed, with their versions.
        passed: number of tests that pass.
        failures: tests that fail here and not with the installed versions, or why there is no answer.
    """

    axis: str
    end: str
    versions: Sequence[str]
    passed: int
    failures: Sequence[str]


class Refused(Exception):
    """A cell that gives no answer, and why."""


def ends(axis: Sequence[str], project: Path) -> dict[str, list[str]]:
    """Return what pip is asked for at both ends of an axis."""
    all_bounds = {name: bound for group in requirements(project).values() for name, bound in group.items()}
    floors = lowest(project)
    return {"lowest": [floors[name] for name in axis], "newest": [all_bounds[name] for name in axis]}


def neighbours(axis: Sequence[str], project: Path) -> list[str]:
    """Return the requirements of the suite and of the extras that name the axis, but for the axis itself."""
    groups = requirements(project)
    wanted = [group for name, group in groups.items() if name in SUITE or set(axis) & group.keys()]
    return list({name: bound for group in wanted for name, bound in group.items() if name not in axis}.values())


def pip(*arguments: str) -> None:
    """Run pip, which takes no sources; say what it says where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Refused("; ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR")) or done.stderr)


def planned(*arguments: str) -> list[str]:
    """Return the packages that pip would install, NAME==VERSION each."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip("--dry-run", "--report", str(report), *arguments)
        found = [package["metadata"] for package in json.loads(report.read_text())["install"]]
    return [f"{one['name']}=={one['version']}" for one in found]


def run_tests(folder: Path, names: Sequence[str], tests: Sequence[str]) -> dict[str, str]:
    """Return what became of each test with the packages of a folder before those installed.

    Args:
        folder: where they lie.
        names: packages that the tests must have imported from there.
        tests: paths of tests.

    Raises:
        Refused: the tests ended their process, or ran with other versions.
    """
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    with TemporaryDirectory() as place:
        answer = Path(place, "answer.json")
        program = Path(__file__).with_name("cell.py")
        command = [sys.executable, str(program), str(answer), str(folder), " ".join(names)]
        done = subprocess.run([*command, *tests], cwd=PROJECT.parent, env=os.environ | {"PYTHONPATH": path})
        if not answer.exists():
            raise Refused(f"the tests ended with status {done.returncode} and no answer")
        content = json.loads(answer.read_text())
    if content["elsewhere"]:
        raise Refused("; ".join(content["elsewhere"]))
    return content["tests"]


def verdict(outcomes: Mapping[str, str], installed: Mapping[str, str]) -> tuple[int, list[str]]:
    """Return how many tests pass, and those that fail or, though they pass with the installed versions, do not run."""
    passed = [test for test, outcome in outcomes.items() if outcome == "passed"]
    lost = [test for test, outcome in installed.items() if outcome == "passed" and test not in passed]
    failed = [test for test, outcome in outcomes.items() if outcome == "failed" and installed.get(test) != "failed"]
    return len(passed), list(dict.fromkeys(failed + lost)) or ([] if passed else ["no test passed"])


def cells(
    axes: Mapping[str, Sequence[str]], tests: Sequence[str], tables: Sequence[str] = (), project: Path = PROJECT
) -> Iterator[Cell]:
    """Run the tests with the installed versions, then at both ends of every axis; a cell that fails ends nothing.

    Raises:
        Refused: there is no answer of the installed versions, with which the others are compared.
    """
    with TemporaryDirectory() as folder:
        installed = run_tests(Path(folder), [], [*tests, *tables])
    yield Cell("installed", "", [], *verdict(installed, {}))
    for axis, names in axes.items():
        own = [*tests, *tables] if axis in OF_TABLES else [*tests]
        idle = () if axis in OF_TABLES else tuple(tables)
        known = {test: outcome for test, outcome in installed.items() if not test.startswith(idle)}
        for end, asked in ends(names, project).items():
            versions: list[str] = []
            try:
                wanted = planned("--no-deps", "--ignore-installed", *asked)
                versions = planned(*wanted, *neighbours(names, project))
                if versions:
                    with TemporaryDirectory() as folder:
                        pip("--no-deps", "--target", folder, *versions)
                        outcomes = run_tests(Path(folder), names, own)
                    yield Cell(axis, end, versions, *verdict(outcomes, known))
                else:
                    yield Cell(axis, f"{end}, installed", wanted, *verdict(known, {}))
            except Refused as error:
                yield Cell(axis, end, versions or asked, 0, [str(error)])


def table(rows: Sequence[Cell]) -> str:
    """Return the cells as a table in Markdown."""
    lines = ["| axis | end | versions | passed | fails |", "|---|---|---|---|---|"]
    for row in rows:
        fails = "<br>".join(row.failures).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row.axis} | {row.end} | {', '.join(row.versions)} | {row.passed} | {fails} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells that are asked for, print their table, and return 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axes", nargs="*", metavar="PACKAGE", help=f"of: {', '.join(AXES)}; default: all")
    asked = parser.parse_args(arguments).axes
    if unknown := set(asked) - AXES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(AXES)}")
    rows = []
    try:
        for row in cells({name: AXES[name] for name in asked or AXES}, TESTS, TABLES):
            rows.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    except Refused as error:
        parser.exit(1, f"with the installed versions {error}\n")
    print(f"\n{table(rows)}")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
