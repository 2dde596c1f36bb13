"""The cost of a method before any run: by number of shots, and by part of an episode."""
