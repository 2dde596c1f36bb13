"""SegIC: emergent correspondence for in-context segmentation (ECCV 2024; `segic.md`)."""

from fsbench.methods.segic.segic import SegIC as SegIC
