"""What follows from records: tables, the atlas of published figures, pictures."""
