"""The page of the atlas: published figures in groups that share a test."""
