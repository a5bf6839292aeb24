"""The state of the steps, and the pure logic on it: ingest's tables, panes, windows, watermarks.

Everything here is synchronous and takes its time as an argument: a fold gets a batch and the
stores of one source partition, changes the stores and returns what is to be written.
"""
