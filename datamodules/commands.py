"""`fsbench data prepare` and `fsbench data check`."""

from argparse import Namespace
from pathlib import Path

from datamodules.prepare import coco, fss1000, pascal
from datamodules.prepare.download import Patience
from datamodules.prepare.job import Job

_PREPARE = {"pascal": pascal.prepare, "coco": coco.prepare, "fss1000": fss1000.prepare}


def prepare(options: Namespace) -> int:
    """Bring the data set `options.dataset` into `options.root`; see `datamodules.prepare.job.Job`."""
    job = Job(
        root=Path(options.root).expanduser(),
        source=_folder(options.source),
        lists=_folder(options.lists),
        without_lists=options.no_lists,
        url_base=options.url_base,
        allow_unverified=options.allow_unverified,
        render=options.render,
        validation_only=options.validation_only,
        patience=Patience(options.timeout, options.retries, options.backoff),
    )
    with job.alone():
        for remark in _PREPARE[options.dataset](job):
            print(f"note: {remark}")
    print(f"{job.root}: ready; see what is in it with: fsbench data check {options.dataset} --root {job.root}")
    return 0


def _folder(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None
