"""Check a folder of a data set whose files are listed by class."""

from collections.abc import Callable, Mapping

from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.indexes.binary_masks import ListedMasks


def check_listed(
    report: Report,
    make: Callable[[], ListedMasks],
    per_class: Mapping[str, int] | None = None,
    total: int | None = None,
) -> ListedMasks | None:
    """Report on folders, files and the number of listed images; returns the data set where it can be used.

    Args:
        report: where the findings go.
        make: makes the data set.
        per_class: name of a class -> listed images of the complete data, where that is known.
        total: listed images of all classes, likewise.
    """
    index = report.attempt("folders", make)
    names = report.attempt("lists", lambda: index.candidates("val")) if index else None
    if index is None or names is None:
        return None
    report.ok("folders", str(index.root))
    for number, listed in index.names.items():
        name = index.class_names[number - 1]
        official = (per_class or {}).get(name)
        report.count(f"class {number}", len(listed), official, f"listed images of {name}")
        if len(listed) < 2:
            report.problem(f"class {number}", f"{len(listed)} listed images of {name}; expected 2 or more")
    report.count("list", len(names), total, "listed images of all classes")
    check_files(
        report, "images, masks", names, lambda name: (index.image_path(name), index.label_file(name)), index.label_map
    )
    return index
