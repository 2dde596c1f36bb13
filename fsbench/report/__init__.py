"""Make pages of finished runs that open from disk: tables, plots, comparisons, and a gallery of episodes."""
