"""Rules that episodes are drawn by: image lists, orders of classes and images, and streams of random numbers."""
