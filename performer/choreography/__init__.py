"""Choreography: what the creature does. Pure: no clock, no I/O, the same inputs give the same latents bit for bit."""
