"""What a run holds beyond its counts: sums over the pixels of its stored predictions, and other counts of them."""
