"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (ECCV 2022; `dcama.md`)."""

from fsbench.methods.dcama.dcama import DCAMA as DCAMA
