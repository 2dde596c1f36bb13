"""Version of fsbench. It has a file of its own, so that whoever needs the number imports nothing else."""

__version__ = "0.1.0"
