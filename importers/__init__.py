"""Data from elsewhere, read into plain values: series from files and from River's data sets."""
