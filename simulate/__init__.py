"""A music-streaming service that does not exist, simulated with known truth.

The core (everything but ``publisher`` and ``pacing``) is pure: a seed, a configuration and a span
of time give the same bytes on every machine. What was done to the data (who behaves how, what
broke when, what was sent twice) is written beside it as labels.
"""
