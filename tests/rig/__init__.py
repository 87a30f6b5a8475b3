"""Rigs: whole pieces of a venue, made of software, for tests and benchmarks."""
