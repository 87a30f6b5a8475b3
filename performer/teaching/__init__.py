"""The room that teaches the ear: made-up music with known onsets, and the network that learns from it.

Nothing that plays knows it; what it makes lies in `performer/audio/onsets.safetensors`.
"""
