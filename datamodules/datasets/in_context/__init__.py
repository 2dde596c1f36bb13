"""Data sets of the in-context protocol whose annotations are neither label maps nor COCO's of 2014."""
