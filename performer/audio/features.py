"""What is heard, as numbers: the table of features and the causal analysis that fills it, hop by hop.

Add a feature by adding one entry to `TABLE`: its `read` says which numbers of the analyser to show. Routes, meters and
the OSC output find it there.

How it listens. Every hop (256 samples at 44.1 and 48 kHz) the last four hops are windowed and transformed. The window
is lopsided, a slow rise and a fall of half a hop at the newest end, so that a new sound counts at once instead of
after half a window. The power is summed into narrow groups of bins and these into bands.

- Level: the band's dB between a reference that follows its peaks and falls slowly (`REFERENCE_FALL_DB_PER_S`), and
  `RANGE_DB` below it. The reference never falls near the noise floor, so that a quiet room is not blown up.
- Hits: the rise in dB of each group over two hops, averaged over the band, against a running mean and deviation.
  The detector fires at the crossing, holds `HOLD_S`, and is armed again when the rise is over.

Thread: one; the `Analyser` is a plain object with a `step`. No clock, no I/O: equal samples give equal bits, whatever
the sizes of the blocks in which they come.
Real-time: about 100 us a hop for one voice.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from performer.audio.source import DEFAULT_VOICES, VoiceSpec
from performer.flow import F32, F64, AudioBlock, AudioEvent, AudioEventKind, AudioFeatures, CaptureFlags, frozen_array

BANDS: tuple[tuple[str, float, float], ...] = (  # name, from Hz, to Hz; in the order of AudioEventKind
    ("all", 20.0, 16000.0),
    ("bass", 20.0, 150.0),
    ("mid", 150.0, 1500.0),
    ("midhigh", 1500.0, 5000.0),
    ("high", 5000.0, 16000.0),
)
GROUPS_PER_BAND = (3, 8, 6, 7)  # of bass, mid, midhigh, high: narrow groups in which a rise is looked for

TIME_WRAP_S = 3600.0  # `time` features begin again at zero here; see `time_advance_s`

FLOOR_DB = np.array([-50.0, -52.0, -52.0, -56.0, -60.0])  # per band: below this a level is 0; music falls with pitch
RANGE_DB = 36.0  # from level 0 to level 1, where the sound is loud enough
REFERENCE_LEAST_DB = FLOOR_DB + 20.0
REFERENCE_FALL_DB_PER_S = 0.4
ATTACK_S, RELEASE_S, PRESENCE_S = 0.012, 0.15, 3.0
HIT_DECAY_S = 0.06  # time constant: a hit is below a tenth after 140 ms
LOUDNESS_S = 0.3
LOUDNESS_LEAST_DB = -80.0
FULL_SCALE_SINE_DB = 3.0103  # added to mean squares, so that a sine at full scale reads 0 dB

HOLD_S = 0.060  # two hits of one band are at least this far apart
STATISTICS_S = 1.0
# A hit stands out of the running mean by so many mean deviations, plus the floor; per AudioEventKind.
DEVIATIONS = np.array([3.0, 4.0, 2.5, 2.5, 2.5, 2.5])
FLOOR_RISE_DB = np.array([2.2, 4.0, 3.0, 2.8, 2.8, 1.8])
GROUP_FLOOR = 10.0 ** (-72.0 / 10.0)  # power under which rises do not count
ALL_FLOOR = 10.0 ** (-62.0 / 10.0)
ONSET_SHARE = np.array([0.6, 0.3, 0.45, 0.6, 0.6])  # a rise in one band counts so much; bass alone is restless
REARM = 0.5  # the rise must fall below this part of the threshold


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of `AudioFeatures.values`."""

    name: str  # `bass.hit`; a route writes it as it is, or after a voice: `drums.bass.hit`
    unit: str  # empty for a bare number
    low: float
    high: float
    latency_s: float  # from the sound at the converter to the number, at 48 kHz, without the driver's share
    help: str
    read: Callable[["Analyser"], np.ndarray]  # -> [voices]
    rest: float | None = 0.0  # where it falls to when nothing can be heard; None: it stays as it is


def _band_features(row: int, name: str, low_hz: float, high_hz: float) -> tuple[Feature, ...]:
    where = f"{low_hz:g}-{high_hz:g} Hz"
    return (
        Feature(
            f"{name}.level",
            "",
            0.0,
            1.0,
            0.012,
            f"energy in {where}, relative to the recent loudest",
            lambda a: a.level[:, row],
        ),
        Feature(
            f"{name}.hit", "", 0.0, 1.0, 0.006, f"jumps at a hit in {where}, gone after 150 ms", lambda a: a.hit[:, row]
        ),
        Feature(
            f"{name}.time",
            "s",
            0.0,
            TIME_WRAP_S,
            0.012,
            f"seconds that pass faster while {where} is loud; wraps after an hour",
            lambda a: a.time_s[:, row],
            None,
        ),
        Feature(
            f"{name}.presence", "", 0.0, 1.0, 3.0, f"slow level of {where}, over 3 s", lambda a: a.presence[:, row]
        ),
    )


TABLE: tuple[Feature, ...] = (
    *(feature for row, band in enumerate(BANDS) for feature in _band_features(row, *band)),
    Feature(
        "loudness",
        "db",
        LOUDNESS_LEAST_DB,
        0.0,
        0.15,
        "how loud it is, absolutely: power over 0.3 s, 0 is a sine at full scale",
        lambda a: a.loudness_db,
        LOUDNESS_LEAST_DB,
    ),
    Feature("onset", "", 0.0, 1.0, 0.006, "jumps when any new sound begins, gone after 150 ms", lambda a: a.hit[:, 5]),
)
_COLUMNS = {feature.name: index for index, feature in enumerate(TABLE)}
HELD = frozen_array(np.array([feature.rest is None for feature in TABLE]))
REST = frozen_array(np.array([feature.rest or 0.0 for feature in TABLE], np.float32))


def column(name: str) -> int:
    """Column of the feature `name` in `AudioFeatures.values`. Raises KeyError with the names that there are."""
    try:
        return _COLUMNS[name]
    except KeyError:
        raise KeyError(f"no audio feature {name!r}; there are: {', '.join(_COLUMNS)}") from None


def feature_of(source: str) -> Feature | None:
    """The feature that a route's source such as `drums.bass.hit` names after its voice; None where it names none."""
    index = _COLUMNS.get(source.partition(".")[2])
    return None if index is None else TABLE[index]


def feature_names() -> tuple[str, ...]:
    """Names of all columns, in order."""
    return tuple(_COLUMNS)


def time_advance_s(before: float, now: float) -> float:
    """How far a `time` feature has gone from `before` to `now`, across the wrap."""
    return (now - before) % TIME_WRAP_S


def hop_samples(rate_hz: float) -> int:
    """Samples from one set of features to the next: 256 at 44.1 and 48 kHz, about the same time at other rates."""
    return 256 if rate_hz <= 0 else max(32, 2 ** round(8 + math.log2(rate_hz / 46000.0)))


@dataclass(frozen=True, slots=True)
class Memory:
    """What a new analyser takes over from one that died, so that nothing jumps."""

    time_ns: np.ndarray  # [voices, bands] i64, the `time` features before their wrap
    reference_db: F64  # [voices, bands]


class Analyser:
    """Streaming features of all voices.

    rate_hz: sample rate, 8000..192000 or more.
    channels: of the blocks that will come.
    voices: groups of these channels; a channel beyond `channels` is silent.
    """

    def __init__(
        self,
        *,
        rate_hz: float,
        channels: int,
        voices: Sequence[VoiceSpec] = DEFAULT_VOICES,
        memory: Memory | None = None,
    ) -> None:
        self.rate_hz = float(rate_hz)
        self.hop = hop_samples(rate_hz)
        self.window = 4 * self.hop
        self._members = [
            [c - 1 for c in voice.channels if c <= channels] if voice.channels else list(range(channels))
            for voice in voices
        ]
        count = len(voices)
        hop_s = self.hop / self.rate_hz
        self._hop_ns = hop_s * 1e9

        self._incoming = np.zeros((self.hop, channels), np.float32)
        self._filled = 0
        self._sound = np.zeros((count, self.window), np.float32)
        self._offset = np.zeros((count, 1), np.float32)  # slow mean: converters and cheap preamplifiers add DC
        self._shape, self._power_scale = _lopsided_window(self.window)
        self._spectrum: Any = np.zeros((count, self.window // 2 + 1), np.complex64)
        edges, self._firsts = _group_edges(self.rate_hz, self.window)
        self._bins = slice(int(edges[0]), int(edges[-1]))
        self._edges = edges[:-1] - edges[0]
        self._group_counts = np.diff([*self._firsts, len(self._edges)]).astype(np.float64)
        groups = len(self._edges)

        self._past_db = np.full((4, count, groups + 1), 10 * math.log10(GROUP_FLOOR))
        self._past_db[:, :, 0] = 10 * math.log10(ALL_FLOOR)
        self._hops = 0
        self._power = np.zeros((count, groups + 1))
        self._band_power = np.zeros((count, 5))
        self._rise_db = np.zeros((count, 6))
        self._mean = np.zeros((count, 6))
        self._deviation = np.zeros((count, 6))
        self._armed = np.ones((count, 6), bool)
        self._deferred = np.zeros((count, 6), bool)
        # Hops until a hit may fire again. The opening of a stream is no hit.
        self._held = np.full((count, 6), 6, np.int64)
        self._hold_hops = math.ceil(HOLD_S / hop_s)

        self.level = np.zeros((count, 5))
        self.relative = np.zeros((count, 5))  # as level, not smoothed
        self.presence = np.zeros((count, 5))
        self.hit = np.zeros((count, 6))
        self.loudness_db = np.full(count, LOUDNESS_LEAST_DB)
        self._mean_square = np.zeros(count)
        self.peak = np.zeros(count)  # largest sample of the last hop
        self.time_ns = np.zeros((count, 5), np.int64) if memory is None else memory.time_ns.astype(np.int64).copy()
        self.time_s = np.zeros((count, 5))
        floor_db = np.broadcast_to(REFERENCE_LEAST_DB, (count, 5))
        self.reference_db = floor_db.copy() if memory is None else np.maximum(memory.reference_db, floor_db)

        self._attack = 1 - math.exp(-hop_s / ATTACK_S)
        self._release = 1 - math.exp(-hop_s / RELEASE_S)
        self._slow = 1 - math.exp(-hop_s / PRESENCE_S)
        self._fall_db = REFERENCE_FALL_DB_PER_S * hop_s
        self._hit_decay = math.exp(-hop_s / HIT_DECAY_S)
        self._power_step = 1 - math.exp(-hop_s / LOUDNESS_S)
        self._learn = 1 - math.exp(-hop_s / STATISTICS_S)
        self._offset_step = np.float32(1 - math.exp(-hop_s / 0.5))

        self._anchor_sample = 0  # sample number and show time through which times are counted
        self._anchor_s: float | None = None
        self._next_sample = 0

    def memory(self) -> Memory:
        """What a successor needs."""
        return Memory(self.time_ns.copy(), self.reference_db.copy())

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
            # The seam is a click of our own making: nobody may dance to it.
            self._held[:] = np.maximum(self._held, 1 + math.ceil(self.window / self.hop))
            self._armed[:] = False
        self._next_sample = block.first_sample
        if self._anchor_s is None or gap or abs(self._show_s(block.first_sample) - block.adc_s) > 20e-6:
            self._anchor_sample, self._anchor_s = block.first_sample, block.adc_s

    def _show_s(self, sample: float) -> float:
        return (self._anchor_s or 0.0) + (sample - self._anchor_sample) / self.rate_hz

    def _hear_hop(self, end_sample: int) -> tuple[AudioFeatures, list[AudioEvent]]:
        self._take_in()
        self._measure_levels()
        events = self._find_hits(end_sample)
        values = np.empty((len(self.level), len(TABLE)), np.float32)
        for index, feature in enumerate(TABLE):
            values[:, index] = feature.read(self)
        return AudioFeatures(frozen_array(values), self._show_s(end_sample - 1)), events

    def _take_in(self) -> None:
        """Mix the hop into voices, slide the window, transform, and sum the power into groups and bands."""
        hop, sound = self.hop, self._sound
        sound[:, :-hop] = sound[:, hop:]
        for row, members in enumerate(self._members):
            newest = sound[row, -hop:]
            if not members:
                newest[:] = 0.0
                continue
            newest[:] = self._incoming[:, members[0]]
            for member in members[1:]:
                newest += self._incoming[:, member]
            if len(members) > 1:
                newest *= np.float32(1.0 / len(members))
        newest = sound[:, -hop:]
        # One NaN from a broken driver would stay in every average for ever.
        if not np.isfinite(newest.sum()):
            np.nan_to_num(newest, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.minimum(np.maximum(newest, -8.0, out=newest), 8.0, out=newest)
        self.peak = np.maximum(newest.max(axis=1), -newest.min(axis=1)).astype(np.float64)
        self._offset += self._offset_step * (newest.mean(axis=1, keepdims=True) - self._offset)
        squares = np.einsum("vn,vn->v", newest, newest) / hop - self._offset[:, 0] ** 2
        self._mean_square += self._power_step * (np.maximum(squares, 0.0) - self._mean_square)
        spectrum = np.fft.rfft((sound - self._offset) * self._shape, axis=1, out=self._spectrum)[:, self._bins]
        power = spectrum.real**2 + spectrum.imag**2
        groups = self._power[:, 1:]
        groups[:] = np.add.reduceat(power, self._edges, axis=1)
        groups *= self._power_scale
        self._band_power[:, 1:] = np.add.reduceat(groups, self._firsts, axis=1)
        self._band_power[:, 0] = self._band_power[:, 1:].sum(axis=1)
        self._power[:, 0] = self._band_power[:, 0]

    def _measure_levels(self) -> None:
        band_db = 10.0 * np.log10(self._band_power + 1e-12)
        reference_db = self.reference_db
        # The reference climbs with the level's own attack, so that one crackle does not silence a minute.
        climb = np.maximum(band_db - reference_db, 0.0) * (self._attack * 0.5)
        np.maximum(reference_db + climb - self._fall_db, REFERENCE_LEAST_DB, out=reference_db)
        low_db = np.maximum(reference_db - RANGE_DB, FLOOR_DB)
        relative = (band_db - low_db) / (reference_db - low_db)
        self.relative = np.minimum(np.maximum(relative, 0.0), 1.0)
        change = self.relative - self.level
        self.level += np.where(change > 0, self._attack, self._release) * change
        self.presence += self._slow * (self.level - self.presence)
        # Whole nanoseconds in 64 bits: sums are exact, and 292 years long.
        self.time_ns += np.rint(self.level * self._hop_ns).astype(np.int64)
        self.time_s = (self.time_ns % int(TIME_WRAP_S * 1e9)) * 1e-9
        self.loudness_db = np.maximum(
            10.0 * np.log10(self._mean_square + 1e-12) + FULL_SCALE_SINE_DB, LOUDNESS_LEAST_DB
        )

    def _find_hits(self, end_sample: int) -> list[AudioEvent]:
        past, now = self._past_db, self._hops % 4
        # Four places in turn: this hop, and those one, two and three hops ago.
        current = past[now]
        np.add(self._power, GROUP_FLOOR, out=current)
        current[:, 0] += ALL_FLOOR - GROUP_FLOOR
        np.log10(current, out=current)
        current *= 10.0
        rise = np.maximum(current - np.maximum(past[(now - 2) % 4], past[(now - 3) % 4]), 0.0)
        self._hops += 1
        novelty = self._rise_db
        novelty[:, 0] = rise[:, 0]
        np.add.reduceat(rise[:, 1:], self._firsts, axis=1, out=novelty[:, 1:5])
        novelty[:, 5] = novelty[:, 1:5].sum(axis=1) / len(self._edges)
        novelty[:, 1:5] /= self._group_counts
        # A new sound may be broad and faint, or strong in one band alone: either counts.
        np.maximum(novelty[:, 5], (ONSET_SHARE * novelty[:, :5]).max(axis=1), out=novelty[:, 5])

        threshold = self._mean + DEVIATIONS * self._deviation + FLOOR_RISE_DB
        np.maximum(self._held - 1, 0, out=self._held)
        fires = (novelty > threshold) & self._armed & (self._held == 0) | self._deferred
        starts = self._defer(fires) if fires.any() else {}
        self._armed |= novelty < REARM * threshold
        self._armed &= ~fires
        # Hits themselves must not raise the bar for the next: they enter the statistics cut to the threshold.
        calm = np.minimum(novelty, threshold)
        self._deviation += self._learn * (np.abs(calm - self._mean) - self._deviation)
        self._mean += self._learn * (calm - self._mean)
        self.hit *= self._hit_decay
        if not starts:
            return []
        self._held[fires] = self._hold_hops
        events = []
        for voice, start in starts.items():
            at_s = self._show_s(end_sample - self.window + start)
            for kind in np.flatnonzero(fires[voice]):
                strength = self._strength(voice, int(kind))
                self.hit[voice, kind] = max(self.hit[voice, kind], strength)
                events.append(AudioEvent(voice, AudioEventKind(int(kind)), at_s, strength))
        return events

    def _defer(self, fires: np.ndarray) -> dict[int, int]:
        """Where in the window each voice's hit began; `fires` is cleared where it began too late to be judged.

        Of a sound that began in the newest half hop too little has been seen to tell how strong it is: it waits for
        one hop more. The delay from sound to event is then half a hop to one and a half, whatever its place.
        """
        starts = {}
        for voice in np.flatnonzero(fires.any(axis=1)):
            start = self._rise_sample(self._sound[voice])
            late = fires[voice] & ~self._deferred[voice] & (start > self.window - self.hop // 2)
            self._deferred[voice] = late
            fires[voice] &= ~late
            if fires[voice].any():
                starts[int(voice)] = start
        return starts

    def _strength(self, voice: int, kind: int) -> float:
        """0..1: half of it how steep the rise is, half how loud the band is beside its recent loudest."""
        steep = 1.0 - math.exp(-float(self._rise_db[voice, kind]) / 8.0)
        loud = float(self.relative[voice, 0 if kind == 5 else kind])
        return min(max(0.5 * steep + 0.5 * loud, 0.05), 1.0)

    def _rise_sample(self, sound: F32) -> int:
        """Sample of the window at which the sound grew: where two variances explain it best (Akaike's picker).

        It runs only when something was hit, and sees the whole band: the skin is heard before the drum's body.
        """
        grain = max(self.hop // 32, 1)
        energy = np.square(sound - np.float32(sound.mean())).astype(np.float64).reshape(-1, grain).sum(axis=1) + 1e-10
        total = np.cumsum(energy)
        count = len(energy)
        splits = np.arange(count // 4, count)
        before = total[splits - 1] / splits
        after = (total[-1] - total[splits - 1]) / (count - splits)
        cost = splits * np.log(before) + (count - splits) * np.log(after)
        cost[after <= before] = np.inf
        best = int(np.argmin(cost))
        return int(splits[best]) * grain if np.isfinite(cost[best]) else len(sound) - self.hop


def _lopsided_window(window: int) -> tuple[F32, float]:
    """The window, and the factor that makes a full-scale sine's power 1 when summed over its bins."""
    fall = window // 8
    rise = window - fall
    shape = np.concatenate(
        [
            0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / rise),
            0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / fall),
        ]
    )
    return shape.astype(np.float32), float(4.0 / (np.square(shape).sum() * window))


def _group_edges(rate_hz: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins at which the groups begin, with the end appended; and the group with which each of the four bands begins."""
    last_bin = window // 2 + 1
    edges: list[int] = []
    firsts = []
    for (_, low_hz, high_hz), groups in zip(BANDS[1:], GROUPS_PER_BAND, strict=True):
        low = max(1, round(low_hz * window / rate_hz + 0.5)) if edges else 1
        high = round(high_hz * window / rate_hz + 0.5)
        # A band above half the sample rate keeps one bin, which is as good as silent.
        low = min(low, last_bin - 1)
        high = min(max(high, low + 1), last_bin)
        if edges:
            low = max(low, edges[-1] + 1)
        fresh = np.unique(np.round(np.geomspace(low, high, groups + 1)).astype(int))[:-1]
        firsts.append(len(edges))
        edges.extend(int(edge) for edge in fresh)
        end = high
    return np.array([*edges, max(end, edges[-1] + 1)]), np.array(firsts)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A whole piece, analysed: for offline renders, tests, and jumping to a place."""

    values: F32  # [hops, voices, features]
    centre_s: F64  # [hops], ascending
    events: tuple[AudioEvent, ...]  # in order of detection

    def at(self, at_s: float) -> AudioFeatures:
        """The features as they stood at `at_s`; zeros before the first hop."""
        hop = int(np.searchsorted(self.centre_s, at_s, side="right")) - 1
        if hop < 0:
            return AudioFeatures(frozen_array(np.zeros(self.values.shape[1:], np.float32)), at_s)
        return AudioFeatures(self.values[hop], float(self.centre_s[hop]))


def analyse(samples: np.ndarray, samplerate: float, voices: Sequence[VoiceSpec] = DEFAULT_VOICES) -> Analysis:
    """Run the streaming analysis over a whole array; show time 0 is its first sample.

    samples: [n] or [n, channels], full scale at -1..1.
    """
    sound = np.asarray(samples, np.float32)
    sound = sound[:, None] if sound.ndim == 1 else sound
    analyser = Analyser(rate_hz=samplerate, channels=sound.shape[1], voices=voices)
    hops = analyser.step(AudioBlock(sound, 0, 0.0))
    values = np.array([features.values for features, _ in hops], np.float32).reshape(-1, len(voices), len(TABLE))
    centre_s = np.array([features.centre_s for features, _ in hops])
    events = tuple(event for _, found in hops for event in found)
    return Analysis(frozen_array(values), frozen_array(centre_s), events)
