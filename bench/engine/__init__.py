"""Our engine against the field: the same jobs, on the same records, through the same broker."""
