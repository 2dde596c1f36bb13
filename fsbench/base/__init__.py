"""Tools that know nothing of the field: errors, files, folders, downloads, progress, plug-ins."""
