"""The page of `fsbench demo`: mark a thing on a few images and see a method find it on the others."""
