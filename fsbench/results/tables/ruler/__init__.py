"""One method under many tests: its scores, and how far the choice of the test alone moves them."""
