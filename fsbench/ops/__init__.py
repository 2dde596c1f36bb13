"""Tensor operations that methods share: one public function a file, with a plain reference beside the fast paths."""
