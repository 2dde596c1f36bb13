"""The atlas: published evaluation programs with their conditions, the figures made by them, and what is comparable."""
