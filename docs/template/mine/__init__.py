"""A method and a data set for fsbench."""
