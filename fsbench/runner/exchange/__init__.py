"""Results that others can check: records in one file, with a card, and their verification."""
