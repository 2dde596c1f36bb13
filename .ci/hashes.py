"""Write requirements with the hashes of their files: names and versions from the standard input, hashes from pip.

pip is asked, without installing anything, which wheel it would take for each version of Python that CI runs. Where
these differ, a requirement has several hashes. The files are those for this kind of machine (Linux, x86-64). No
address is written, so any index that has the same files will do.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PYTHONS = ("3.11.5", "3.12", "3.13")
"""Versions of Python: the first of every series that knows all locked versions."""

HEAD = """\
# Files of the test environment on Linux x86-64 with Python 3.11 to 3.13; written by "make lock".
# make venv HASHES=.ci/requirements.txt installs these and no others.
"""


def main() -> None:
    wanted = [line.strip() for line in sys.stdin if line.strip() and not line.startswith("#")]
    sys.stdout.write(HEAD + requirements(wanted, [pip_report(wanted, version) for version in PYTHONS]))


def pip_report(wanted: Iterable[str], python: str) -> dict[str, Any]:
    """Return pip's report on what it would install of `wanted` (each "name==version") for a version of Python."""
    with tempfile.TemporaryDirectory() as folder:
        listing, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        listing.write_text("\n".join(wanted))
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        how = ["--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:"]
        place = ["--python-version", python, "--target", str(Path(folder, "nothing")), "--report", str(report)]
        subprocess.run([*pip, *how, *place, "-r", str(listing)], check=True)
        answer: dict[str, Any] = json.loads(report.read_text())
        return answer


def requirements(wanted: Iterable[str], reports: Iterable[dict[str, Any]]) -> str:
    """Return the requirements `wanted` with all hashes of them that are in pip's reports.

    Raises:
        KeyError: a report has no hash of one of them.
    """
    found: dict[str, set[str]] = {line: set() for line in wanted}
    for report in reports:
        hashes = {
            canonical(item["metadata"]["name"]): item["download_info"]["archive_info"]["hashes"]["sha256"]
            for item in report["install"]
        }
        for line, known in found.items():
            known.add(hashes[canonical(line.partition("==")[0])])
    return "".join(
        " \\\n    ".join([line, *(f"--hash=sha256:{digest}" for digest in sorted(digests))]) + "\n"
        for line, digests in found.items()
    )


def canonical(name: str) -> str:
    """Return a project's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
