"""Other scores of predictions that are stored: another void rule, resolution or size, and measures of masks."""
