"""A leaderboard: pages over bundles, each of which is verified first, and the repository that they are handed in to."""
