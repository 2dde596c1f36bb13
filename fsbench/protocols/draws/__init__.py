"""Draws: how a protocol makes the list of its episodes, one file a family, with the source of its order."""
