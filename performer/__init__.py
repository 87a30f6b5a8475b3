"""performer: a trained image generator, played live like an instrument."""

__version__ = "0.1.0"
