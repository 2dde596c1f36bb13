"""A small data set labelled by hand and by methods in turn: a project on disk, its queue, its page, its exports."""
