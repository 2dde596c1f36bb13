"""Runs like the papers' own, which stand beside the papers' rows."""

from tests.fsbench.official_runs import official as official
