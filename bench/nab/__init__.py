"""The Numenta Anomaly Benchmark: its scoring rule, and detectors on a copy of its corpus."""
