"""Compare a data set on disk with the official data: missing, damaged and different files (`fsbench data check`)."""
