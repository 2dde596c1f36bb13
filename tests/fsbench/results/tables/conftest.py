"""Runs like the papers' own."""

from tests.fsbench.official_runs import official as official
