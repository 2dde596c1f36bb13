from fsbench.metrics.episodic import EpisodicScores as EpisodicScores
