"""Studies of one setting: scores by number of shots, by annotation of the supports, by draw of the supports."""
