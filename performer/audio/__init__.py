"""The room that hears: sources, the ring, the analysis, and the processes in which they live.

`check_source` before doors open, `Ears` during the show, `analyse` offline. Importing this room imports numpy only;
sound libraries are imported by the process that hears.
"""

from performer.audio.analyser import Analyser, Analysis, Tuning, analyse
from performer.audio.features import TABLE, Feature, column, feature_names, feature_of, time_advance_s
from performer.audio.source import (
    DEFAULT_VOICES,
    BandSpec,
    DeviceInfo,
    SourceError,
    SourceSpec,
    VoiceSpec,
    check_source,
    list_devices,
)

__all__ = [
    "DEFAULT_VOICES",
    "TABLE",
    "Analyser",
    "Analysis",
    "BandSpec",
    "DeviceInfo",
    "Ears",
    "EarsStatus",
    "Feature",
    "SourceError",
    "SourceSpec",
    "Tuning",
    "VoiceSpec",
    "analyse",
    "check_source",
    "column",
    "feature_names",
    "feature_of",
    "list_devices",
    "time_advance_s",
]


def __getattr__(name: str) -> object:
    # Late, so that the child process, which needs the rest, does not load the parent's side.
    if name in ("Ears", "EarsStatus"):
        from performer.audio import ears

        return getattr(ears, name)
    raise AttributeError(name)
