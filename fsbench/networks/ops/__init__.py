"""Tensor operations that methods share: a public function or layer a file, plain references beside fast paths."""
