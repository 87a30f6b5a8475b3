"""Engines: what runs a generator. One file each, behind the contract in `engine`."""
