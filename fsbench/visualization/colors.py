"""Colors of drawings."""

import numpy as np

WAY_COLORS = np.array([[230, 60, 60], [60, 130, 230], [70, 190, 90], [240, 180, 40], [170, 90, 210]], dtype=np.uint8)
"""RGB colors of an episode's ways, in turn."""

QUERY_COLOR: tuple[int, int, int] = (230, 60, 60)
"""Red: the query and what belongs to it."""
SUPPORT_COLOR: tuple[int, int, int] = (60, 130, 230)
"""Blue: the support."""
