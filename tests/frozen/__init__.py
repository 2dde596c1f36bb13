"""Frozen episodes, counts and tables: what may not move while the suite is rebuilt, as text beside the tests.

`suite.py` alone knows the inside of the suite. `python -m tests.frozen` shows what moved, `--write` freezes it anew.
"""
