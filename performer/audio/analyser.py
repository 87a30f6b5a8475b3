"""The causal analysis: sound to features, hits and the beat, hop by hop.

Its parts lie in modules of their own: `front` mixes and transforms, `levels` weighs, `hits` detects, `tone` tells colours,
notes and parts, `beat` follows the beat. The numbers that leave it are those of the table in `features`.

Thread: one; the `Analyser` is a plain object with a `step`. No clock, no I/O: equal samples give equal bits, whatever
the sizes of the blocks in which they come.
Real-time: about 350 us a hop for one voice, 500 for two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from performer.audio.beat import BeatTracker
from performer.audio.features import BANDS, PARTS, TIME_WRAP_S, table_with
from performer.audio.front import NARROW_EDGES_HZ, WIDE_FIRST, Front, band_matrix, lopsided_window
from performer.audio.hits import FLOOR_DB, Hits, rise_sample
from performer.audio.levels import ADAPT_S, Levels, Loudness, k_weights
from performer.audio.source import DEFAULT_VOICES, BandSpec, VoiceSpec
from performer.audio.tone import PARTS_BANDS, PITCH_HIGH_HZ, PITCH_LOW_HZ, Tone
from performer.flow import (
    F32,
    F64,
    SHAPE_SAMPLES,
    AudioBlock,
    AudioEvent,
    AudioFeatures,
    CaptureFlags,
    frozen_array,
)

# Below this a relative level is 0; music falls with pitch. Of the five bands, of a user's, of the two parts.
FLOORS_DB, USER_FLOOR_DB, PARTS_FLOOR_DB = (-50.0, -52.0, -52.0, -56.0, -60.0), -55.0, -55.0
SPECTRUM_LOW_DB = -80.0
LEARN_S = 10.0  # how long `learn` listens where there is no beat to count bars by
LEARN_BEATS = 16
LEAST_STRENGTH = 0.05
TOLD_AFTER_HOPS, LEAST_SEEN = (
    0.4,
    0.01,
)  # a hit is told when so much of it has been seen; and part of the window's energy
CHUNK_S = 2.0  # of a whole piece that is analysed at once


@dataclass(frozen=True, slots=True)
class Memory:
    """What a new analyser takes over from one that died, so that nothing jumps."""

    time_ns: np.ndarray  # [voices, level rows] i64, the `time` features before their wrap
    reference_db: F64  # [voices, level rows]


# What each voice has where a `Tuning` says nothing of it.
USUAL = {"gain_db": 0.0, "gate_db": -math.inf, "delay_s": 0.0, "sensitivity": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How to listen: what hands may change while it plays."""

    gain_db: tuple[float, ...] = ()  # of each voice; shorter means 0 for the rest
    gate_db: tuple[float, ...] = ()  # of each voice; -inf, or nothing, for no gate
    delay_s: tuple[float, ...] = ()  # of each voice: how much later than the others it arrives; taken off its times
    sensitivity: tuple[float, ...] = ()  # of each voice, 0 the deafest to 1 the keenest
    hold_s: float = 0.03  # two hits of one detector are at least this far apart
    hysteresis: float = 0.5  # the part of the threshold that a score falls below before the next hit
    adapt_s: float = ADAPT_S  # the reference of relative levels falls by 10 dB in so long
    is_frozen: bool = False  # the reference stands still
    resets: int = 0  # counts: forget the reference and what was learnt
    learns: int = 0  # counts: listen for some bars, then set the thresholds
    taps: int = 0  # counts: a hand has said where the beat is
    tap_bpm: float = 0.0  # the tempo that it tapped; 0 where it is unknown
    tap_s: float = 0.0  # show time of its last tap

    def each(self, name: str, voices: Sequence[int]) -> list[float]:
        """What it says of these voices, by a name in `USUAL`."""
        given = getattr(self, name)
        return [given[voice] if voice < len(given) else USUAL[name] for voice in voices]


class Analyser:
    """Streaming features of all voices of one device.

    rate_hz: sample rate, 8000..192000 or more.
    channels: of the blocks that will come.
    voices: groups of these channels; a channel beyond `channels` is silent.
    bands: the setlist's own.
    beat_voice: row of the voice in which the beat is followed; None for none.
    memory: of a predecessor.
    tuning: how to listen at first; what its counts ask for has been done.
    """

    def __init__(
        self,
        *,
        rate_hz: float,
        channels: int,
        voices: Sequence[VoiceSpec] = DEFAULT_VOICES,
        bands: Sequence[BandSpec] = (),
        beat_voice: int | None = 0,
        memory: Memory | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.rate_hz = float(rate_hz)
        self.table = table_with(bands)
        self._lows = np.array([feature.low for feature in self.table], np.float32)
        self._highs = np.array([feature.high for feature in self.table], np.float32)
        self._count = count = len(voices)
        self.front = Front(rate_hz=rate_hz, channels=channels, voices=voices)
        self.hop, self.window = self.front.hop, self.front.window
        hop_s = self.front.hop_s

        spectrum = {"rate_hz": self.rate_hz, "window": self.window}
        own = np.array([(band.low_hz, band.high_hz) for band in bands]).reshape(-1, 2)
        parts_hz = np.geomspace(40.0, 16000.0, PARTS_BANDS + 1)
        weights = k_weights(np.fft.rfftfreq(self.window, 1.0 / self.rate_hz))
        self._matrix = np.concatenate(  # one product for all sums over bins
            [
                band_matrix(NARROW_EDGES_HZ, **spectrum),
                band_matrix(parts_hz, **spectrum),
                band_matrix(own, **spectrum),
                weights[:, None],
            ],
            axis=1,
        )
        self._narrow = len(NARROW_EDGES_HZ) - 1
        centres_hz = np.sqrt(NARROW_EDGES_HZ[:-1] * NARROW_EDGES_HZ[1:])
        user_bins = [_members(centres_hz, band) for band in bands]
        floor_db = np.array([*FLOORS_DB, *[PARTS_FLOOR_DB] * len(PARTS), *[USER_FLOOR_DB] * len(bands)])
        self.levels = Levels(
            voices=count,
            floor_db=floor_db,
            hop_s=hop_s,
            reference_db=None if memory is None else memory.reference_db,
            time_ns=None if memory is None else memory.time_ns,
        )
        self.loudness = Loudness(voices=count, hop_s=hop_s)
        self.hits = Hits(voices=count, narrow=self._narrow, user_bins=user_bins, hop_s=hop_s)
        self.tone = Tone(
            voices=count, rate_hz=self.rate_hz, hop=self.hop, short=self.window, long=self.front.long_window
        )
        self.beat_voice = beat_voice
        self.beat = BeatTracker(hop_s=hop_s)
        self._kind_rows = np.array([0, 1, 2, 3, 4, 0, 1, 2, 4, *range(len(BANDS) + len(PARTS), len(floor_db))])

        self._band_power = np.zeros((count, len(floor_db)))
        self._incoming = np.zeros((self.hop, channels), np.float32)
        self._filled = 0
        self._hops = 0
        self._tuning = tuning or Tuning()
        self._learn_until_s = math.inf
        self._waiting = np.zeros((count, self.hits.kinds), bool)  # hits of which too little has been seen to be told
        energy = np.square(lopsided_window(self.window)[0].astype(np.float64))
        self._seen_part = np.maximum(np.cumsum(energy[::-1])[::-1] / energy.sum(), LEAST_SEEN)
        self._gain, self._gate_db, self._delay_s, self._sensitivity = self._per_voice(self._tuning)
        self._anchor_sample = 0  # sample number and show time through which times are counted
        self._anchor_s: float | None = None
        self._next_sample = 0

    def memory(self) -> Memory:
        """What a successor needs."""
        return Memory(self.levels.time_ns.copy(), self.levels.reference_db.copy())

    def tune(self, tuning: Tuning) -> None:
        """Listen in another way from the next hop on."""
        before, self._tuning = self._tuning, tuning
        self._gain, self._gate_db, self._delay_s, self._sensitivity = self._per_voice(tuning)
        if tuning.resets != before.resets:
            self.levels.forget()
            self.hits.forget()
            self._learn_until_s = math.inf
        if tuning.learns != before.learns:
            self.hits.learn()
            beats_s = LEARN_BEATS * 60.0 / self.beat.bpm if self.beat.confidence > 0.3 else LEARN_S
            self._learn_until_s = self._show_s(self._next_sample) + beats_s
        if tuning.taps != before.taps:
            self.beat.tapped(tuning.tap_s, bpm=tuning.tap_bpm)

    def _per_voice(self, tuning: Tuning) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        gain_db, gate_db, delay_s, sensitivity = (np.array(tuning.each(name, range(self._count))) for name in USUAL)
        return 10.0 ** (gain_db / 20.0), gate_db, delay_s, sensitivity

    def time_s(self, row: int) -> np.ndarray:
        """[voices], the wrapped `time` of one level."""
        return (self.levels.time_ns[:, row] % int(TIME_WRAP_S * 1e9)) * 1e-9

    @property
    def pitch_height(self) -> np.ndarray:
        """[voices], the pitch by octaves, 0..1."""
        octaves = np.log2(np.maximum(self.tone.pitch_hz, PITCH_LOW_HZ) / PITCH_LOW_HZ)
        return np.minimum(octaves / math.log2(PITCH_HIGH_HZ / PITCH_LOW_HZ), 1.0)

    def step(self, block: AudioBlock) -> list[tuple[AudioFeatures, list[AudioEvent]]]:
        """Hear one block of any length; the features and events of every hop that it completed."""
        self._follow_time(block)
        out = []
        samples, at = block.samples, 0
        while at < len(samples):
            take = min(self.hop - self._filled, len(samples) - at)
            self._incoming[self._filled : self._filled + take] = samples[at : at + take]
            self._filled += take
            at += take
            self._next_sample += take
            if self._filled == self.hop:
                self._filled = 0
                out.append(self._hear_hop(self._next_sample))
        return out

    def _follow_time(self, block: AudioBlock) -> None:
        """Count show time from one anchor, and move it only when the blocks disagree by more than their rounding."""
        gap = block.first_sample != self._next_sample or bool(block.flags & CaptureFlags.GAP)
        if gap and self._anchor_s is not None:
            self.hits.deafen(1 + math.ceil(self.window / self.hop))  # nobody may dance to the seam
        self._next_sample = block.first_sample
        if self._anchor_s is None or gap or abs(self._show_s(block.first_sample) - block.adc_s) > 20e-6:
            self._anchor_sample, self._anchor_s = block.first_sample, block.adc_s

    def _show_s(self, sample: float) -> float:
        return (self._anchor_s or 0.0) + (sample - self._anchor_sample) / self.rate_hz

    def _hear_hop(self, end_sample: int) -> tuple[AudioFeatures, list[AudioEvent]]:
        front, narrow = self.front, self._narrow
        front.take(self._incoming, gain=self._gain, gate_db=self._gate_db)
        sums = front.power @ self._matrix
        narrow_power = sums[:, :narrow]
        narrow_db = np.log10(np.maximum(narrow_power, np.float32(10.0 ** (FLOOR_DB / 10))))
        narrow_db *= np.float32(10.0)
        parts = sums[:, narrow : narrow + PARTS_BANDS]
        bands = self._band_power
        bands[:, 1:5] = np.add.reduceat(narrow_power, WIDE_FIRST, axis=1)
        bands[:, 0] = bands[:, 1:5].sum(axis=1)
        bands[:, 7:] = sums[:, narrow + PARTS_BANDS : -1]
        self.tone.step(hops=self._hops, power=front.power, narrow_db=narrow_db, parts=parts, sound=front.sound)
        bands[:, 5:7] = self.tone.parts
        self.levels.step(bands, adapt_s=self._tuning.adapt_s, is_frozen=self._tuning.is_frozen)
        self.loudness.step(sums[:, -1], front.peak)
        fires = self.hits.step(
            self._hops,
            narrow_db=narrow_db,
            narrow_power=narrow_power,
            whole=bands[:, 0],
            sensitivity=self._sensitivity,
            hold_s=self._tuning.hold_s,
            hysteresis=self._tuning.hysteresis,
        )
        self._hops += 1
        now_s = self._show_s(end_sample - 1)
        fires |= self._waiting
        events = self._struck(fires, end_sample) if fires.any() else []
        if self.beat_voice is not None:
            self._follow_beat(events, now_s)
        if now_s >= self._learn_until_s:
            self._learn_until_s = math.inf
            self.hits.learnt()
        return self._features(now_s), events

    def _features(self, now_s: float) -> AudioFeatures:
        values = np.empty((self._count, len(self.table)), np.float32)
        for index, feature in enumerate(self.table):
            values[:, index] = feature.read(self)
        np.clip(values, self._lows, self._highs, out=values)
        spectrum = np.log10(np.maximum(self.front.power[:, :SHAPE_SAMPLES], np.float32(1e-8)))
        spectrum *= np.float32(-10.0 / SPECTRUM_LOW_DB)
        spectrum += np.float32(1.0)
        shape = np.zeros((2, self._count, SHAPE_SAMPLES), np.float32)
        shape[0, :, : spectrum.shape[1]] = np.clip(spectrum, 0.0, 1.0, out=spectrum)
        newest = self.front.sound[:, -SHAPE_SAMPLES:]
        shape[1, :, -newest.shape[1] :] = newest
        shape = frozen_array(shape)
        beat = self.beat
        return AudioFeatures(
            frozen_array(values),
            now_s,
            bpm=beat.bpm,
            beat=beat.beat_at(now_s),
            confidence=beat.confidence,
            downbeat=beat.downbeat,
            spectrum=shape[0],
            waveform=shape[1],
        )

    def _struck(self, fires: np.ndarray, end_sample: int) -> list[AudioEvent]:
        events = []
        front = self.front
        for voice in np.flatnonzero(fires.any(axis=1)):
            start = rise_sample(front.short[voice], max(self.hop // 32, 1))
            start = self.window - self.hop if start is None else start
            # Of a sound that began just now too little has been seen to tell how strong it is: it waits for a hop.
            if self.window - start < TOLD_AFTER_HOPS * self.hop and not self._waiting[voice].any():
                self._waiting[voice] = fires[voice]
                continue
            self._waiting[voice] = False
            at_s = self._show_s(end_sample - self.window + start) - float(self._delay_s[voice])
            unseen_db = -10.0 * math.log10(self._seen_part[start])
            for kind in np.flatnonzero(fires[voice]):
                strength = self._strength(int(voice), int(kind), unseen_db)
                self.hits.strike(int(voice), int(kind), strength)
                events.append(AudioEvent(int(voice), int(kind), at_s, strength))
        return events

    def _strength(self, voice: int, kind: int, unseen_db: float) -> float:
        """0.05..1: how loud the detector's band is beside its recent loudest, squared; 6 dB less is 0.7, 12 dB 0.45.

        unseen_db: what the part of the window before the hit takes from its level.
        """
        loud = self.levels.relative_of(
            self.levels.db[voice, self._kind_rows[kind]] + unseen_db, voice, self._kind_rows[kind]
        )
        return max(loud * loud, LEAST_STRENGTH)

    def _follow_beat(self, events: Sequence[AudioEvent], now_s: float) -> None:
        heard = [event for event in events if event.voice == self.beat_voice]
        self.beat.step(heard, now_s=now_s)


def _members(centres_hz: np.ndarray, band: BandSpec) -> np.ndarray:
    """The narrow bands whose middles lie in `band`; the nearest where there is none."""
    inside = np.flatnonzero((centres_hz >= band.low_hz) & (centres_hz <= band.high_hz))
    if len(inside):
        return inside
    return np.array([int(np.argmin(np.abs(np.log(centres_hz / math.sqrt(band.low_hz * band.high_hz)))))])


@dataclass(frozen=True, slots=True)
class Analysis:
    """A whole piece, analysed: for offline renders, tests, and jumping to a place."""

    values: F32  # [hops, voices, features]
    centre_s: F64  # [hops], ascending
    events: tuple[AudioEvent, ...]  # in order of detection
    heard_s: F64  # [events], time of the newest sample when each was told
    bpm: F64  # [hops], 0 while unknown
    beat: F64  # [hops], as known at centre_s
    confidence: F64  # [hops]
    downbeat: np.ndarray  # [hops] i64

    def at(self, at_s: float) -> AudioFeatures:
        """The features as they stood at `at_s`; zeros before the first hop."""
        hop = int(np.searchsorted(self.centre_s, at_s, side="right")) - 1
        if hop < 0:
            return AudioFeatures(frozen_array(np.zeros(self.values.shape[1:], np.float32)), at_s)
        return AudioFeatures(
            self.values[hop],
            float(self.centre_s[hop]),
            bpm=float(self.bpm[hop]),
            beat=float(self.beat[hop]),
            confidence=float(self.confidence[hop]),
            downbeat=int(self.downbeat[hop]),
        )


def analyse(
    samples: np.ndarray,
    samplerate: float,
    voices: Sequence[VoiceSpec] = DEFAULT_VOICES,
    *,
    bands: Sequence[BandSpec] = (),
    tuning: Tuning | None = None,
) -> Analysis:
    """Run the streaming analysis over a whole array; show time 0 is its first sample.

    samples: [n] or [n, channels], full scale at -1..1.
    """
    sound = np.asarray(samples, np.float32)
    sound = sound[:, None] if sound.ndim == 1 else sound
    analyser = Analyser(rate_hz=samplerate, channels=sound.shape[1], voices=voices, bands=bands, tuning=tuning)
    values, centre_s, beats, events, heard_s = [], [], [], [], []
    chunk = max(round(CHUNK_S * samplerate), 1)
    for first in range(0, len(sound), chunk):
        block = AudioBlock(sound[first : first + chunk], first, first / samplerate)
        for features, found in analyser.step(block):
            values.append(features.values)
            centre_s.append(features.centre_s)
            beats.append((features.bpm, features.beat, features.confidence, features.downbeat))
            events += found
            heard_s += [features.centre_s] * len(found)
    columns = np.array(beats).reshape(-1, 4)
    return Analysis(
        values=frozen_array(np.array(values, np.float32).reshape(-1, len(voices), len(analyser.table))),
        centre_s=frozen_array(np.array(centre_s)),
        events=tuple(events),
        heard_s=frozen_array(np.array(heard_s)),
        bpm=frozen_array(columns[:, 0]),
        beat=frozen_array(columns[:, 1]),
        confidence=frozen_array(columns[:, 2]),
        downbeat=frozen_array(columns[:, 3].astype(np.int64)),
    )
