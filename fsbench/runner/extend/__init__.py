"""Start of what others add to fsbench: packages with a method or a data set, written from templates."""
