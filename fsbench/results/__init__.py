"""Tables, the atlas of published figures and pictures: all that follows from records."""
