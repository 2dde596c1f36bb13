"""Pre-trained networks, their weight files, and the tensor operations that methods share."""
