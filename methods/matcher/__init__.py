"""Matcher: training-free one-shot segmentation by matched points that prompt SAM."""
