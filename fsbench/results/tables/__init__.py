"""Tables of scores: blocks of rows, and how they are laid out for people."""
