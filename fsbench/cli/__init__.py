"""The command line: one file per subcommand, each with `add_options` and the function that runs it.

Only the chosen subcommand's file is imported. Those that compute import torch within their function, once, so that
help and refused options do without it.
"""
