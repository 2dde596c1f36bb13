"""`fsbench bench --blind`: a method in a process of its own, which gets episodes without names, files and truth."""
