"""What `performer listen` remembers of what it hears, so that a picture, a line or a summary can be made of it.

A single look at the ears tells levels. Peaks that are held, lights that fade, counts and medians need the looks before.

Thread: one; no clock, no I/O. Owns: what it remembers, of the last minute, and one number a look.
"""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from performer.audio.analyser import Tuning
from performer.audio.ears import EarsStatus
from performer.audio.features import BANDS, feature_names
from performer.audio.levels import LEAST_DB
from performer.audio.source import BandSpec, VoiceSpec
from performer.flow import AudioEvent, AudioEventKind, AudioFeatures
from performer.listening.screen import PITCH_SURE, BandView, HitView, View, VoiceView, counters, note, said

HELD_S, CLIP_SHOWN_S, LIGHT_S = 2.0, 2.0, 0.4
COUNTED_S, LEAST_COUNTED_S = 60.0, 2.0  # over which hits are counted
FULL_DB, NEARLY_FULL_DB, ALIKE_DB = -0.1, -1.5, 0.5
HITS = (AudioEventKind.ONSET, AudioEventKind.KICK, AudioEventKind.SNARE, AudioEventKind.HAT)


def _no_hits() -> dict[int, int]:
    return {int(kind): 0 for kind in HITS}


class _VoiceTally:
    """What is remembered of one voice."""

    def __init__(self, spec: VoiceSpec, *, gain_db: float, gate_db: float, sensitivity: float, delay_s: float) -> None:
        self.name = spec.name
        self.gain_db = gain_db
        self.has_gate = gate_db > -math.inf
        knobs = [f"{gain_db:+g} dB"] if gain_db else []
        knobs += [f"gate {gate_db:g} dB"] if self.has_gate else []
        knobs += [f"delay {1e3 * delay_s:g} ms"] if delay_s else []
        knobs += [f"sensitivity {sensitivity:g}"] if sensitivity != 0.5 else []
        self.knobs = "  ".join(knobs)
        self.peaks: deque[tuple[float, float]] = deque()  # (show time, dB) of the last seconds, falling
        self.most_db = LEAST_DB
        self.loudest_lufs = -math.inf
        self.lufs: list[float] = []  # while it sounds, once a look
        self.clips_until_s = -math.inf
        self.clips = 0
        self.told_s: dict[int, deque[float]] = {int(kind): deque() for kind in HITS}
        self.struck: dict[int, tuple[float, float]] = {}  # when last, and how strongly
        self.since_line = _no_hits()
        self.hits = _no_hits()
        self.pitches_hz: list[float] = []

    def looked(self, peak_db: float, *, at_s: float) -> None:
        self.most_db = max(self.most_db, peak_db)
        while self.peaks and (self.peaks[-1][1] <= peak_db):
            self.peaks.pop()
        self.peaks.append((at_s, peak_db))
        while self.peaks[0][0] < at_s - HELD_S:
            self.peaks.popleft()

    def clipped(self, *, at_s: float) -> None:
        self.clips += at_s > self.clips_until_s
        self.clips_until_s = at_s + CLIP_SHOWN_S

    def hit(self, event: AudioEvent, *, at_s: float) -> None:
        if event.kind in self.told_s:
            self.told_s[event.kind].append(at_s)
            self.struck[event.kind] = (at_s, event.strength)
            self.since_line[event.kind] += 1
            self.hits[event.kind] += 1

    def hit_view(self, kind: AudioEventKind, *, at_s: float, listened_s: float) -> HitView:
        recent = self.told_s[kind]
        while recent and recent[0] < at_s - COUNTED_S:
            recent.popleft()
        struck_s, strength = self.struck.get(kind, (-math.inf, 0.0))
        light = max(1.0 - (at_s - struck_s) / LIGHT_S, 0.0) * (0.5 + 0.5 * strength)
        return HitView(kind.name.lower(), light, len(recent) * 60.0 / min(max(listened_s, LEAST_COUNTED_S), COUNTED_S))


class Tally:
    """Remembers what a single look at the ears does not tell: peaks, counts, lights that fade."""

    def __init__(self, *, voices: Sequence[VoiceSpec], bands: Sequence[BandSpec], tuning: Tuning) -> None:
        self._columns = {name: column for column, name in enumerate(feature_names(bands))}
        self._bands = (*(name for name, _, _ in BANDS), *(band.name for band in bands))

        def of(values: Sequence[float], row: int, usual: float) -> float:
            return values[row] if row < len(values) else usual

        self._voices = [
            _VoiceTally(
                spec,
                gain_db=of(tuning.gain_db, row, 0.0),
                gate_db=of(tuning.gate_db, row, -math.inf),
                sensitivity=of(tuning.sensitivity, row, 0.5),
                delay_s=of(tuning.delay_s, row, 0.0),
            )
            for row, spec in enumerate(voices)
        ]
        self._began_s = math.nan  # when something was first heard
        self._clipped = 0
        self._features: AudioFeatures | None = None

    def look(self, features: AudioFeatures, events: Sequence[AudioEvent], *, clipped: int, at_s: float) -> None:
        """Take in what the ears say now.

        clipped: blocks that reached full scale at the converter, so far; of all voices together.
        """
        if math.isnan(self._began_s) and features.centre_s > 0:
            self._began_s = at_s
        self._features = features
        raw_db = []
        for voice, row in zip(self._voices, features.values, strict=True):
            peak_db = self._of(row, "peak")
            voice.looked(peak_db, at_s=at_s)
            raw_db.append(peak_db - voice.gain_db)
            lufs = self._of(row, "loudness")
            voice.loudest_lufs = max(voice.loudest_lufs, lufs)
            if not self._of(row, "silence"):
                voice.lufs.append(lufs)
            if self._of(row, "pitch.confidence") >= PITCH_SURE:
                voice.pitches_hz.append(self._of(row, "pitch"))
        # The converter clips before gains, and tells of no channel: the voices that are as good as full are lit, or,
        # where a voice is the mean of channels of which one clips, the fullest.
        grew, self._clipped = clipped > self._clipped, clipped
        least_db = min(NEARLY_FULL_DB, max(raw_db) - ALIKE_DB) if grew else FULL_DB
        for voice, db in zip(self._voices, raw_db, strict=True):
            if db >= least_db:
                voice.clipped(at_s=at_s)
        for event in events:
            self._voices[event.voice].hit(event, at_s=at_s)

    def _of(self, row: np.ndarray, name: str) -> float:
        return float(row[self._columns[name]])

    def view(self, status: EarsStatus, *, at_s: float) -> View:
        """What is to be shown at `at_s`."""
        features = self._features
        assert features is not None
        return View(
            voices=tuple(
                self._voice_view(voice, row, at_s=at_s)
                for voice, row in zip(self._voices, features.values, strict=True)
            ),
            bpm=features.bpm,
            beat=features.beat + (at_s - features.centre_s) * features.bpm / 60.0,
            downbeat=features.downbeat,
            confidence=features.confidence,
            status=status,
        )

    def _voice_view(self, voice: _VoiceTally, row: np.ndarray, *, at_s: float) -> VoiceView:
        # A shut gate lets nothing through, and no room is as quiet as nothing.
        gate = ("shut" if self._of(row, "all.db") <= LEAST_DB else "open") if voice.has_gate else ""
        listened_s = at_s - self._began_s if self._began_s < at_s else 0.0
        return VoiceView(
            name=voice.name,
            knobs=voice.knobs,
            peak_db=self._of(row, "peak"),
            held_db=voice.peaks[0][1] if voice.peaks else LEAST_DB,
            most_db=voice.most_db,
            clips=at_s < voice.clips_until_s,
            lufs=self._of(row, "loudness"),
            bands=tuple(
                BandView(name, self._of(row, f"{name}.level"), self._of(row, f"{name}.db")) for name in self._bands
            ),
            hits=tuple(voice.hit_view(kind, at_s=at_s, listened_s=listened_s) for kind in HITS),
            pitch_hz=self._of(row, "pitch"),
            pitch_confidence=self._of(row, "pitch.confidence"),
            centroid_hz=self._of(row, "centroid"),
            is_silent=self._of(row, "silence") > 0,
            gate=gate,
        )

    def taken_counts(self) -> list[list[int]]:
        """Hits of each voice and kind since the last call."""
        counts = [[voice.since_line[kind] for kind in HITS] for voice in self._voices]
        for voice in self._voices:
            voice.since_line = _no_hits()
        return counts

    def summary(self, status: EarsStatus) -> list[str]:
        """Lines for people about all that was heard."""
        lines = [f"sound    {said(status)}, {1e3 * status.latency_s:.1f} ms from the converter to the numbers"]
        for voice in self._voices:
            clips = f", clipped {voice.clips} times" if voice.clips else ""
            lines.append(f"{voice.name:<8} peak {voice.most_db:.1f} dBFS{clips}")
            typical = f"{np.median(voice.lufs):.1f} LUFS, at most {voice.loudest_lufs:.1f}" if voice.lufs else "silence"
            pitch = ""
            if voice.pitches_hz:
                name, cents = note(float(np.median(voice.pitches_hz)))
                pitch = f"; pitch mostly {name} {cents:+d} ct"
            lines.append(f"         loudness {typical}{pitch}")
            lines.append("         hits " + ", ".join(f"{kind.name.lower()} {voice.hits[kind]}" for kind in HITS))
        features = self._features
        if features is not None and features.bpm > 0:
            lines.append(f"beat     {features.bpm:.1f} beats per minute, {features.confidence:.2f} sure")
        else:
            lines.append("beat     none")
        lines.append("counts   " + ", ".join(f"{name} {count}" for name, count in counters(status)))
        return lines
