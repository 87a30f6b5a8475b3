"""Benchmarks: whole shows, measured. Each prints a table and writes JSON with `--json FILE`."""
