"""Scores of finished runs by other rules: another protocol's, or those that a claimed score may follow."""
