"""Functions for a notebook and for the command line alike: a test is opened, answered, scored; runs are read."""
