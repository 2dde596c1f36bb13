"""Methods on one's own photos: a few labelled ones say what is looked for, masks of others come out."""
