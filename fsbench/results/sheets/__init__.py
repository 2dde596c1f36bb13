"""Tables as text, Markdown, LaTeX, HTML and data, and what all of them and all figures share."""
