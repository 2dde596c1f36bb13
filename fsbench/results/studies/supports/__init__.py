"""How much a score depends on the choice of the supports: of runs with several draws of them."""
