"""Parts of published tests: a module for each axis, in which a word of the atlas is a rule (atlas-runs.md).

`lists`, `draws`, `streams` and `counts` decide which episodes there are, `geometry`, `comparison`, `void` and `scores`
how images are seen and answers counted. A protocol of `fsbench.protocols.composed` takes one part of each axis.
"""
