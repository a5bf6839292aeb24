"""Maths: detectors and what they need; pure, synchronous, seeded. Imports no client library."""
