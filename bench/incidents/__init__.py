"""The simulator's labelled incidents against detectors and trivial baselines."""
