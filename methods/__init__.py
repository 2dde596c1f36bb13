"""Methods: prototype, CST, EMAT and HSNet in a file each, DCAMA, HMNet and the classifiers in a folder each."""

if __name__ != "fsbench.methods":  # each class would be there twice
    raise ImportError(f"{__file__} of fsbench was imported as {__name__}; import fsbench.methods instead")
