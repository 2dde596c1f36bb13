"""Subcommand `fsbench doctor`: whether this machine has what runs need."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_block, print_line
from fsbench.runner.config.registry import check_known
from fsbench.runner.doctor.files import check_data, check_weights


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
    # heavy: torch, which other commands spare
    from fsbench.runner.doctor.machine import check_devices, check_room, check_software, devices
    from fsbench.runner.doctor.ops import check_ops
    from fsbench.runner.doctor.scans import check_scans

    findings = [*check_software(), *check_devices()]
    broken = {finding.name for finding in findings if finding.verdict == "failed"}
    usable = [device for device in devices() if str(device) not in broken]
    findings += [finding for device in usable for finding in (*check_ops(device), *check_scans(device))]
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


def _root(text: str) -> tuple[str, str]:
    """Split DATASET=DIR. Raises SettingsError for other text and for unknown data sets."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise SettingsError(f"--data-root is '{text}', expected DATASET=DIR, e.g. coco=/data/coco")
    check_known("data", "data set", name)
    return name, folder
