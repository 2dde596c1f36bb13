"""HMNet's hybrid Mamba network: scans of query and support, blocks, and the memory of the scan (`hmnet.md` §6)."""
