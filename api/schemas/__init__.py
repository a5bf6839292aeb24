"""The JSON that clients see. Apart from ``models.records``, so that either may change alone."""
