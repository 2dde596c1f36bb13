"""Turn the publishers' archives into the folders that the data sets read (`fsbench data prepare`)."""
