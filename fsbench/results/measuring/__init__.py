"""Measure stored predictions again: their pixels at another size, and sums over pixels that counts do not hold."""
