"""The report: finished runs as pages to look at. `collect` gathers, `plots` and `gallery` draw, `site` writes."""
