"""Listeners in segments: a listener's profile as numbers, clusters of them, and their names in words."""
