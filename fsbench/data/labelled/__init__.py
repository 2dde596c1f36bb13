"""Labelled images of people's own: one value, tables of it, and one reader of the forms in which they lie on disk."""
