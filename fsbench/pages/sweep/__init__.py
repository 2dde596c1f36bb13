"""The page of a sweep: its trials, parallel coordinates of their settings, and what the score depends on."""
