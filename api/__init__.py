"""The way out: a FastAPI application that reads the alert topics and the stores.

It shares nothing with the worker but ``models`` and ``storage``: a crash or a rebalance there
does not take it down, and it imports neither the agents nor Faust.
"""
