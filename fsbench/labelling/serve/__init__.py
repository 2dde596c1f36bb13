"""The page of `fsbench demo`: its door, its routes and its files."""
