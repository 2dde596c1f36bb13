"""Methods: prototype, CST, EMAT and HSNet in a file each, DCAMA, HMNet and the classifiers in a folder each."""
