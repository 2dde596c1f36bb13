"""Records are made for these tests as for those of the tables."""

from tests.fsbench.conftest import make

__all__ = ["make"]
