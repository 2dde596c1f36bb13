"""The data modules and the data sets."""

if __name__ != "fsbench.datamodules":  # each class would be there twice
    raise ImportError(f"{__file__} of fsbench was imported as {__name__}; import fsbench.datamodules instead")
