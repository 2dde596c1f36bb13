"""The contract of a method as checks that anyone can run: `fsbench check-method`, and the same under pytest."""
