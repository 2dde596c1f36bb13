"""A method with its supports as one file that segments photos without the suite."""
