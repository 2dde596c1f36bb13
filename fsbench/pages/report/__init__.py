"""Make pages of finished runs that open from disk: tables, plots, comparisons, and an explorer of episodes."""
