"""The command line: one file per subcommand, each with `add_parser` and the function that runs it.

A subcommand imports what it needs when it runs, so that `fsbench --help` and a refused option load neither numpy nor
torch.
"""
