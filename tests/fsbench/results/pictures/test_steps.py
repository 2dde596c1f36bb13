"""Sketches of points, boxes, a graph and regions lie where they are said to be."""

import numpy as np

from fsbench.core.query_maps import Sketch, share_box, stacked_regions
from fsbench.results.pictures.steps import OFF_OBJECT, draw_sketch, group_color

GRAY = np.full((101, 201, 3), 128, np.uint8)


def test_points_and_boxes_are_shares_of_the_image():
    points, boxes = np.array([[0.25, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.2, 0.75, 0.8]])
    drawn = draw_sketch(Sketch(points, np.array([2, 0]), boxes=boxes), GRAY)
    assert tuple(drawn[50, 50]) == group_color(2) and tuple(drawn[0, 200]) == OFF_OBJECT
    assert tuple(drawn[20, 120]) == tuple(drawn[80, 120]) == tuple(drawn[50, 100]) == group_color(1)
    assert tuple(drawn[50, 125]) == tuple(drawn[90, 20])  # inside the box and outside nothing is drawn


def test_edges_go_from_point_to_point():
    points = np.array([[0.1, 0.5], [0.9, 0.5]])
    drawn = draw_sketch(Sketch(points, edges=np.array([[0, 1]])), GRAY)
    assert drawn[50, 100].min() > 200 > drawn[20, 100].max()


def test_larger_masks_lie_below_and_regions_keep_their_colour():
    masks = np.zeros((3, 10, 10), bool)
    masks[0, 2:4, 2:4] = masks[1, :6, :6] = masks[2] = True
    regions = stacked_regions(masks, np.array([3, 1, 0]))
    assert regions[3, 3] == 3 and regions[5, 5] == 1 and regions[9, 9] == 0
    drawn = draw_sketch(Sketch(regions=regions), np.full((100, 100, 3), 128, np.uint8))
    assert drawn[50, 10].tolist() != drawn[90, 90].tolist() and drawn[90, 90].std() == 0
    assert share_box(masks[0]).tolist() == [0.2, 0.2, 0.4, 0.4] and not share_box(np.zeros((4, 4), bool)).any()
