"""The scores of a study as its page shows them: the leaderboard, and those of classes."""
