"""Prepared tracks: what the offline pass over a sound file finds before doors open, and where it is kept.

The live ear hears a sound once, as it comes. Of a file more can be known beforehand, because all of it is there: exact
beats, bars, sections and drops. What is found is a `Prepared`, kept as JSON under the SHA-256 of the file's bytes.
`offline.py` and `form.py` say how it is found.

Thread: main, before the show; `Prepared.beat_at` any. Owns: the files below `folder()`.
"""

import hashlib
import logging
import os
import tempfile
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from performer.audio import form, offline
from performer.audio.form import Drop, Section
from performer.audio.source import Sound, SourceError, decode, probe_file
from performer.resources import cache_folder

log = logging.getLogger(__name__)

VERSION = 1  # of the analysis: what another version found is not read
LONGEST_S = 3 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is known of a sound file. Times are seconds from its first sample."""

    name: str  # of the file, without its folder
    content_hash: str  # SHA-256 of the file's bytes, in hexadecimal
    version: int = VERSION
    duration_s: float
    rate_hz: int  # of the file
    bpm: float  # median tempo in beats per minute; 0 where there is no beat
    even: bool  # the beats are one exactly even grid
    beats_s: tuple[float, ...]  # ascending; empty where there is no beat
    beats_per_bar: int  # 4 or 3
    first_downbeat: int  # which beat begins the first whole bar, 0..beats_per_bar-1
    onsets_s: tuple[float, ...]  # ascending
    sections: tuple[Section, ...]  # without gaps from 0 to `duration_s`
    drops: tuple[Drop, ...]

    @property
    def downbeats_s(self) -> tuple[float, ...]:
        """The beats that begin a bar."""
        return self.beats_s[self.first_downbeat :: self.beats_per_bar]

    def beat_at(self, position_s: float) -> tuple[float, float]:
        """(beat number, beats per minute) at a place in the file, before and after its ends too.

        The first downbeat is number 0; numbers of downbeats are multiples of `beats_per_bar`. Between two beats the
        number grows evenly; before the first and after the last as between the nearest two. (0, 0) without beats.
        """
        beats_s = self.beats_s
        if len(beats_s) < 2:
            return 0.0, 0.0
        before = min(max(bisect_right(beats_s, position_s) - 1, 0), len(beats_s) - 2)
        period_s = beats_s[before + 1] - beats_s[before]
        return before - self.first_downbeat + (position_s - beats_s[before]) / period_s, 60.0 / period_s


# The cache.


def folder() -> Path:
    """Where prepared tracks are kept: `prepared` in the user's cache; `PERFORMER_CACHE` moves that."""
    return cache_folder() / "prepared"


def known(path: Path) -> Prepared | None:
    """What was found of the file at `path` before; None where nothing was. Reads the whole file, decodes nothing."""
    try:
        content_hash = _hash(path)
    except OSError:
        return None
    return _fetch(_stored_at(content_hash), content_hash)


def prepare(
    path: Path, *, again: bool = False, sound: Sound | None = None, announce: Callable[[str], None] = log.info
) -> Prepared:
    """What is known of the file at `path`: as it was found before, else, or `again`, by listening to all of it.

    sound: the file, decoded, where the caller has it already.

    Takes about 4 s for every minute of sound the first time, and some 500 MB for an hour beside the decoded file.

    Raises:
        SourceError: no such file, no sound in it, or longer than LONGEST_S.
    """
    _, _, length_s = probe_file(str(path))
    _refuse_long(path, length_s)
    try:
        content_hash = _hash(path)
    except OSError as error:
        raise SourceError(f"audio.path: {str(path)!r} cannot be read ({error.strerror}); choose another file") from None
    stored_at = _stored_at(content_hash)
    found = None if again else _fetch(stored_at, content_hash)
    if found is not None:
        return replace(found, name=path.name)  # the same sound may lie under two names
    sound = decode(str(path)) if sound is None else sound
    _refuse_long(path, len(sound.samples) / sound.rate_hz)
    announce(f"listening to {path.name}, all of it: {len(sound.samples) / sound.rate_hz:.0f} s")
    found = listen(sound, name=path.name, content_hash=content_hash)
    _store(stored_at, found)
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stored_at(content_hash: str) -> Path:
    return folder() / f"{content_hash}-{VERSION}.json"


def _refuse_long(path: Path, length_s: float) -> None:
    if length_s > LONGEST_S:
        raise SourceError(
            f"audio.path: {str(path)!r} lasts {length_s / 3600:.1f} h; expected {LONGEST_S / 3600:g} h at most to be "
            "prepared; cut it into pieces, or play it without"
        )


def _fetch(stored_at: Path, content_hash: str) -> Prepared | None:
    """What was kept, or None where there is nothing that can be trusted."""
    try:
        found = msgspec.json.decode(stored_at.read_bytes(), type=Prepared)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:  # a value of a wrong type is a DecodeError too
        log.warning("%s: what is known of the track is damaged (%s); finding it again", stored_at, error)
        return None
    if (found.content_hash, found.version) != (content_hash, VERSION) or not _is_sound(found):
        log.warning("%s: belongs to another track or is damaged; finding it again", stored_at)
        return None
    return found


def _is_sound(found: Prepared) -> bool:
    """Whether `beat_at` and the drawing may rely on it."""
    times_s = [found.beats_s, found.onsets_s, tuple(section.start_s for section in found.sections)]
    ascend = all(all(a < b for a, b in zip(some_s, some_s[1:], strict=False)) for some_s in times_s)
    return ascend and 0 <= found.first_downbeat < found.beats_per_bar and bool(found.sections)


def _store(stored_at: Path, found: Prepared) -> None:
    """Keep it. A disk that is full or read-only costs the next start its speed, not this show."""
    try:
        stored_at.parent.mkdir(parents=True, exist_ok=True)
        # Under a name of its own: another process may write the same track at this moment.
        with tempfile.NamedTemporaryFile(dir=stored_at.parent, suffix=".part", delete=False) as file:
            file.write(msgspec.json.encode(found))
        os.replace(file.name, stored_at)
    except OSError as error:
        log.warning("%s: what is known of the track could not be kept (%s)", stored_at, error)


def listen(sound: Sound, *, name: str = "", content_hash: str = "") -> Prepared:
    """The whole pass over decoded sound, without the cache. The same samples give the same result on one machine."""
    duration_s = len(sound.samples) / sound.rate_hz
    heard = offline.hear(offline.mono(sound))
    onsets_s, _ = offline.onsets(heard)
    beats_s, even = offline.beats(heard, *offline.onsets(heard, delta=offline.STRONG_DELTA))
    units_s = form.units(beats_s, duration_s)
    looks = form.look(heard, units_s)
    beats_per_bar, first_downbeat = form.bars(heard, beats_s, looks, units_s)
    bars_s = beats_s[first_downbeat::beats_per_bar]
    bounds_s, labels = form.sections(looks, units_s, bars_s)
    return Prepared(
        name=name,
        content_hash=content_hash,
        duration_s=duration_s,
        rate_hz=sound.rate_hz,
        bpm=60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0,
        even=even,
        beats_s=tuple(beats_s.tolist()),
        beats_per_bar=beats_per_bar,
        first_downbeat=first_downbeat,
        onsets_s=tuple(onsets_s.tolist()),
        sections=form.described(looks, units_s, bounds_s, labels),
        drops=form.drops(heard, looks, units_s, bars_s),
    )
