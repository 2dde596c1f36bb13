"""HMNet's hybrid Mamba network: scans of query and support, and blocks (`hmnet.md` §6)."""
