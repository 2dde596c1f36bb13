"""A leaderboard: pages over bundles of sealed runs, and the repository that they are handed in to."""
