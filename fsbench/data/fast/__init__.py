"""Faster ways to the same pixels: a common PNG unpacked directly, columns resized along memory, memory used again."""
