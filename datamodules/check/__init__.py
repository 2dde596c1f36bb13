"""`fsbench data check`: what of a data set is missing, damaged, or other than the official data."""
