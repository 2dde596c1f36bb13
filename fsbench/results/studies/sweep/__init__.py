"""Score, time and memory of methods by the number of shots or ways, of finished runs."""
