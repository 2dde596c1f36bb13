"""A leaderboard: pages over bundles, of each of which the seals are checked first, and the repository that they are handed in to."""
