"""Lifecycle: from what a user asked to be told, to who was told.

Rules, the condition of each on each series, incidents, routing, wording: all pure, with scores and
thresholds arriving as data. Only ``receivers`` does I/O.
"""
