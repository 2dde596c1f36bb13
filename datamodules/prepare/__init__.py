"""`fsbench data prepare`: from the publishers' archives to the folders that the data sets read."""
