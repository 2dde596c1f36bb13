"""Write the tables of docs/guides/how-much-is-protocol.md from the committed results.

python -m benchmarks.protocols.page
"""

import argparse

from benchmarks.speed.table import filled
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGE = REPOSITORY / "docs/guides/how-much-is-protocol.md"
RESULTS = REPOSITORY / "benchmarks/protocols/results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, filled(PAGE.read_text(), RESULTS))


if __name__ == "__main__":
    main()
