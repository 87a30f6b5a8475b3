"""Setlists: TOML to validated values. What a file names is checked before doors open, all of it at once.

    file        its tables and keys, read
    who         species, bridges, transitions, effects
    heard       voices, bands, sound
    values      the table of parameters, values, presets, keyframes
    led         routes, mappings, foreign addresses, Live
    resolved    all of it as one show, or an evening of several

Thread: main, before the show.
"""

from performer.setlist.file import SetlistError
from performer.setlist.resolved import DEMO, SCHEMA, Setlist, load, locate

__all__ = ["DEMO", "SCHEMA", "Setlist", "SetlistError", "load", "locate"]
