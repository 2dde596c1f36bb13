"""Weight files that others published: which there are, whether they are here, and how they get here. No torch."""
