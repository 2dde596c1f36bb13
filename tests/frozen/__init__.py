"""What may not move while the suite is rebuilt: episodes, counts and tables, frozen in text files beside the tests.

`suite.py` alone knows the inside of the suite. `python -m tests.frozen` shows what moved, `--write` freezes it anew.
"""
