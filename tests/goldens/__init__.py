"""Numbers measured with the authors' implementations, and the command that checks ours against them.

`python -m tests.goldens DIR` checks any folder of this format: an `index.json` with cases, each of a `kind`, and a file
per case. The kinds are the functions in `tests/goldens/kinds`; each module there lists its own in `KINDS`.
"""
