"""Processor seconds that every command costs besides its episodes."""
