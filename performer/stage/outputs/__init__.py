"""Displays and takers of frames. The contract is in `output.py`."""
