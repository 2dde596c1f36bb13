"""Subcommand `fsbench doctor`: whether this machine has what runs need."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from fsbench.base.errors import SettingsError, missing_package
from fsbench.base.terminal import print_block, print_line
from fsbench.runner.config.registry import check_known
from fsbench.runner.doctor.files import check_data, check_weights
from fsbench.runner.doctor.finding import Finding
from fsbench.runner.doctor.machine import check_room, check_software


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 1 if something is wrong. What is absent only some runs need."
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder where runs shall be written")
    parser.add_argument(
        "--data-root", action="append", default=[], metavar="DATASET=DIR", help="where a data set is; may be repeated"
    )
    parser.set_defaults(function=_doctor)


def _doctor(options: argparse.Namespace, extra: list[str]) -> int:
    roots = dict(_root(text) for text in options.data_root)
    findings = [*check_software(), *_of_torch()]
    findings += [*check_room(options.runs), *check_data(roots), *check_weights()]
    failed = sum(finding.verdict == "failed" for finding in findings)
    if options.json:
        print_block(json.dumps([asdict(finding) for finding in findings], indent=1))
        return 1 if failed else 0
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            print_line(f"{part}:")
        print_line(f"  {finding.verdict:12}{finding.name}: {finding.found}")
        if finding.advice and finding.verdict != "absent":
            print_line(f"  {'':12}  → {finding.advice}")
    absent = [finding for finding in findings if finding.verdict == "absent" and finding.advice]
    if absent:
        print_line("what is absent only some runs need; get it with:")
        for finding in absent:
            print_line(f"  {finding.name}: {finding.advice}")
    print_line(f"{failed} of {len(findings)} checks failed" if failed else f"{len(findings)} checks, none failed")
    return 1 if failed else 0


def _of_torch() -> Iterator[Finding]:
    """Yield the devices and the operations on them; in the light installation, that these are absent."""
    try:
        # heavy: torch, which other commands spare
        from fsbench.runner.doctor.devices import check_devices, devices
        from fsbench.runner.doctor.ops import check_ops
        from fsbench.runner.doctor.scans import check_scans
    except ModuleNotFoundError as error:
        if not missing_package(error):
            raise
        words = f"{error.name} is not installed; only for: methods, trainings, masks of images"
        yield Finding("devices", "runs", "absent", words, "pip install 'fsbench[run]'")
        return
    found = list(check_devices())
    yield from found
    broken = {finding.name for finding in found if finding.verdict == "failed"}
    for device in devices():
        if str(device) not in broken:
            yield from (*check_ops(device), *check_scans(device))


def _root(text: str) -> tuple[str, str]:
    """Split DATASET=DIR. Raises SettingsError for other text and for unknown data sets."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise SettingsError(f"--data-root is '{text}', expected DATASET=DIR, e.g. coco=/data/coco")
    check_known("data", "data set", name)
    return name, folder
