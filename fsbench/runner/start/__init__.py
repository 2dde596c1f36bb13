"""A first study: questions that flags can answer, what it lacks, and the file that keeps it."""
