"""Benchmarks. Each prints what it measured with its definition, and can write it as JSON."""
