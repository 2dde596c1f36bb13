"""Weight files that others published: which there are, whether they are here, how they get here, all without torch, and
how they are read (`files.py`)."""
