"""What a setlist hears: voices, bands, and the source of the sound.

Thread: main, before the show.
"""

import math
from pathlib import Path
from typing import Any

from performer import resources
from performer.audio.features import feature_names, hit_kinds, table_with
from performer.audio.source import BandSpec, SourceError, SourceSpec, VoiceSpec, probe_file
from performer.routes import Span
from performer.setlist.file import AudioFile, VoiceFile


def voices_of(content: dict[str, list[int] | VoiceFile], note: Any) -> tuple[VoiceSpec, ...]:
    voices = []
    for name, given in content.items():
        voice = VoiceFile(channels=given) if isinstance(given, list) else given
        if not name.isidentifier():
            note(f"voices.{name}", f"{name!r}; expected a plain word, such as drums")
        if any(number < 1 for number in voice.channels):
            note(f"voices.{name}", f"{voice.channels}; channels are numbered from 1, as on the box")
        voices.append(VoiceSpec(name, tuple(voice.channels), voice.device, voice.host_api))
    return tuple(voices) or (VoiceSpec(),)


def bands_of(content: dict[str, tuple[float, float]], note: Any) -> tuple[BandSpec, ...]:
    taken = {name.partition(".")[0] for name in feature_names()}
    for name, (low_hz, high_hz) in content.items():
        if not name.isidentifier() or name in taken:
            note(f"bands.{name}", f"{name!r}; expected a plain word that is none of: {', '.join(sorted(taken))}")
        if not 20 <= low_hz < high_hz <= 20000:
            note(
                f"bands.{name}", f"[{low_hz:g}, {high_hz:g}]; expected from and to, 20 to 20000 Hz, such as [200, 400]"
            )
    return tuple(BandSpec(name, *edges) for name, edges in content.items())


def audio_of(path: Path, audio: AudioFile, note: Any) -> SourceSpec | None:
    file = ""
    if audio.source == "file":
        found = (
            resources.find(audio.file, beside=path.parent, bundled=resources.SETLISTS, suffix="")
            if audio.file
            else None
        )
        if found is None:
            note("audio.file", f"{audio.file!r} not found; expected a sound file, as a path or beside the setlist")
            return None
        file = str(found)
    return SourceSpec(
        kind=audio.source,
        device=audio.device,
        host_api=audio.host_api,
        path=file,
        loop=audio.loop,
        offset_s=audio.offset,
        tone_hz=audio.tone_hz,
    )


def music_s_of(audio: AudioFile, source: SourceSpec | None) -> float | None:
    """Length of the setlist's sound file, infinite while unknown; None where its source is none.

    source: what was made of it; None where it is not to be had, or the command line has another.
    """
    if audio.source != "file":
        return None
    try:
        return (probe_file(source.path)[2] if source is not None else 0.0) or math.inf
    except SourceError:  # it has been told already
        return math.inf


def spans_of(bands: tuple[BandSpec, ...]) -> dict[str, Span]:
    """What the features of a voice may read, by their names."""
    hits = hit_kinds(bands)
    return {each.name: Span(each.low, each.high, each.rest or 0.0, each.name in hits) for each in table_with(bands)}
