"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (ECCV 2022; `dcama.md`)."""

from methods.dcama.dcama import DCAMA as DCAMA
