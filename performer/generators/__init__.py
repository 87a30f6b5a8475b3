"""Generators: families of networks, their checkpoints, and the mapping from z to w.

`checkpoint` and `mapping` need numpy only, so that a show that plays from a compiled cache imports no torch.
"""
