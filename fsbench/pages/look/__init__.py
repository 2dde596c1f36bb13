"""The one look of all pages: their frame, style and colors, the address, the search, and the buttons that all have."""
