"""Base classes of data sets: what several of them share."""
