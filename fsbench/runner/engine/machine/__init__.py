"""The machine and its processes: what it has, what a run takes of it, jobs, and children that end with their parent."""
