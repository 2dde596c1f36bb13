"""The episode explorer: a page on which all episodes of a study are filtered, looked at, tagged and exported."""
