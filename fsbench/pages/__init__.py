"""Pages over results: the report, the leaderboard, and what a method saw."""
