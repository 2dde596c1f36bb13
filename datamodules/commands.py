"""`fsbench data prepare`, `fsbench data check` and `fsbench data lists`."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from datamodules.check.report import Report
from datamodules.labelled_photos import write_list
from datamodules.photo_sets import PHOTO_SETS
from datamodules.prepare.download import Patience
from datamodules.prepare.job import Job, read_note
from fsbench.errors import SettingsError


def prepare(options: Namespace) -> int:
    """Bring the data set `options.dataset` into `options.root`; see `datamodules.prepare.job.Job`."""
    for name, least in (("timeout", 0.001), ("retries", 0), ("backoff", 0)):
        if getattr(options, name) < least:
            raise SettingsError(f"--{name} is {getattr(options, name)}, expected {least} or more")
    job = Job(
        root=Path(options.root).expanduser(),
        source=_folder(options.source, "--from"),
        lists=_folder(options.lists, "--lists"),
        without_lists=options.no_lists,
        url_base=options.url_base,
        allow_unverified=options.allow_unverified,
        render=options.render,
        validation_only=options.validation_only,
        patience=Patience(options.timeout, options.retries, options.backoff),
    )
    with job.alone():
        for remark in _step("prepare", options.dataset)(job):
            print(f"note: {remark}")
    print(f"{job.root}: ready; see what is in it with: fsbench data check {options.dataset} --root {job.root}")
    return 0


def check(options: Namespace) -> int:
    """Print what is missing, damaged or different in `options.root`; 0 when the data set can be used, else 1."""
    root = Path(options.root).expanduser()
    report = Report()
    lists = None if options.lists is None else [options.lists]
    _step("check", options.dataset)(report, root, lists)
    for archive, entry in read_note(root).items():
        if not entry.get("verified") and not str(entry.get("checksum")).startswith("sha256"):  # none is published
            report.differs("archives", f"{archive} had not the published checksum but {entry.get('checksum')}")
    print(report.text())
    print(f"{options.dataset} in {root}: {report.verdict}")
    return 0 if report.usable else 1


def lists(options: Namespace) -> int:
    """Write the list of a classification data set in `options.root` to `options.out`."""
    index = PHOTO_SETS[options.dataset](options.root, options.lists)
    write_list(index, Path(options.out).expanduser())
    images = sum(map(len, index.images))
    print(f"{options.out}: {len(index.images)} classes, {images} images, {index.origin}, sha256 {index.sha256}")
    return 0


def _step(kind: str, dataset: str) -> Callable[..., Any]:
    """`prepare` or `check` of a data set; those of labelled photos share one."""
    if dataset in PHOTO_SETS:
        return partial(getattr(import_module(f"datamodules.{kind}.photos"), kind), PHOTO_SETS[dataset])
    step: Callable[..., Any] = getattr(import_module(f"datamodules.{kind}.{dataset}"), kind)
    return step


def _folder(text: str | None, option: str) -> Path | None:
    path = Path(text).expanduser() if text else None
    if path is not None and not path.is_dir():
        raise SettingsError(f"{option} is {path}, which is no folder; expected the folder that holds the files")
    return path
