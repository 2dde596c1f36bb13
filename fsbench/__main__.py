"""`python -m fsbench` is the `fsbench` command."""

import sys

from fsbench.cli.main import main

sys.exit(main())
