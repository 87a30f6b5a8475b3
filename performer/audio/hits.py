"""Hits: when a sound began, to a millisecond, once each, and how hard it was struck.

Two kinds of detectors share one trigger:

- Each band looks for a rise in dB of its narrow bands over two hops, against a running mean and deviation.
- `onset`, `kick`, `snare` and `hat` come from a small recurrent network that sees how the narrow bands rose (a gated
  recurrent unit, Cho et al. 2014; as onset detection by Eyben et al. 2010 and Böck et al. 2012, with a context of the past
  alone). Its weights lie beside this module; `performer/teaching/detector.py` made them.

The trigger: a detector fires when its score crosses the threshold, is held for `hold_s`, and is armed again when the score
has fallen below `hysteresis` of it. The time is then looked for in the last samples, where the sound's variance changed.

Thread: one. No clock, no I/O after the weights are read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from performer.audio.front import WIDE_FIRST
from performer.flow import F32

NETWORK = Path(__file__).with_name("onsets.safetensors")
HEARD = ("onset", "kick", "snare", "hat")  # the network's outputs, in order
SURE = np.array([0.65, 0.65, 0.65, 0.7])  # how probable each has to be

FLOOR_DB = -80.0  # of a narrow band: below this nothing rises
STATISTICS_S = 1.0
NORMAL_S = 1.0  # the network sees each narrow band beside its mean over this time constant
DEVIATIONS = np.array([3.0, 4.0, 2.5, 2.5, 2.5])  # of a band's rise that a hit stands out by, and the floor in dB
FLOOR_RISE_DB = np.array([2.2, 4.0, 3.0, 2.8, 2.8])
USER_DEVIATIONS, USER_FLOOR_RISE_DB = 4.0, 4.0
BAND_FLOOR_DB, WHOLE_FLOOR_DB = (
    -72.0,
    -62.0,
)  # of a narrow band and of the whole: below this a band's detector sees no rise
KEEN_RISE, KEEN_ODDS = 6.0, 12.0  # powers of two from the deafest to the keenest: the network is seldom undecided
HIT_DECAY_S = 0.06  # time constant: a hit is below a tenth after 140 ms
OPENING_HOPS = 6  # the opening of a stream is no hit
LEARN_BINS = 96
LEARN_LOW, LEARN_HIGH = 0.7, 50.0  # of a score beside its threshold: what is lower is noise
LEARN_PEAKS = 4  # there are at least so many on each side of a learnt threshold


@dataclass(frozen=True, slots=True)
class Network:
    """The weights of the recurrent detector."""

    inputs: F32  # [90, 144], for reset, update and candidate
    inputs_bias: F32
    state: F32  # [48, 144]
    state_bias: F32
    output: F32  # [48 + 90, 4]
    output_bias: F32


@cache
def network() -> Network:
    """The bundled detector."""
    parts = load_file(NETWORK)
    return Network(**{name: parts[name] for name in Network.__slots__})


class Detector:
    """The recurrent network over the narrow bands of all voices."""

    def __init__(self, *, voices: int, bands: int, hop_s: float) -> None:
        self._net = network()
        self._size = self._net.state.shape[0]
        self._past_db = np.full((4, voices, bands), FLOOR_DB, np.float32)
        self._mean_db = np.full((voices, bands), -60.0, np.float32)
        self._follow = np.float32(1 - math.exp(-hop_s / NORMAL_S))
        self._inputs = np.zeros((voices, 3 * bands), np.float32)
        self._state = np.zeros((voices, self._size), np.float32)
        self.probability = np.zeros((voices, len(HEARD)))

    def step(self, hops: int, narrow_db: F32) -> None:
        """One hop of [voices, narrow bands] in dB; `probability` then holds [voices, 4] that a hit begins."""
        past, bands = self._past_db, narrow_db.shape[1]
        inputs = self._inputs
        np.subtract(narrow_db, past[(hops - 1) % 4], out=inputs[:, :bands])
        np.subtract(narrow_db, np.maximum(past[(hops - 2) % 4], past[(hops - 3) % 4]), out=inputs[:, bands : 2 * bands])
        np.clip(inputs[:, : 2 * bands], -10.0, 30.0, out=inputs[:, : 2 * bands])
        inputs[:, : 2 * bands] *= np.float32(0.1)
        rest = inputs[:, 2 * bands :]
        np.subtract(narrow_db, self._mean_db, out=rest)
        rest *= np.float32(1 / 15)
        np.clip(rest, -2.0, 4.0, out=rest)
        self._mean_db += self._follow * (narrow_db - self._mean_db)
        past[hops % 4] = narrow_db
        net, size = self._net, self._size
        given = inputs @ net.inputs + net.inputs_bias
        kept = self._state @ net.state + net.state_bias
        gates = _sigmoid(given[:, : 2 * size] + kept[:, : 2 * size])
        candidate = np.tanh(given[:, 2 * size :] + gates[:, :size] * kept[:, 2 * size :])
        self._state = candidate + gates[:, size:] * (self._state - candidate)
        self.probability = _sigmoid(
            np.concatenate([self._state, inputs], axis=1) @ net.output + net.output_bias
        ).astype(np.float64)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.maximum(x, -60.0)))


class Hits:
    """All detectors of all voices: five bands, the network's four, then the user's bands.

    Rows are `flow.AudioEventKind` followed by the user's bands in their order.
    """

    def __init__(self, *, voices: int, narrow: int, user_bins: Sequence[np.ndarray], hop_s: float) -> None:
        self._hop_s = hop_s
        self._firsts = np.array(WIDE_FIRST)
        self._counts = np.diff([*WIDE_FIRST, narrow]).astype(np.float64)
        self._user = [np.asarray(rows) for rows in user_bins]  # the narrow bands that make up each of the user's
        users = len(self._user)
        self._deviations = np.concatenate([DEVIATIONS, np.full(users, USER_DEVIATIONS)])
        self._floors = np.concatenate([FLOOR_RISE_DB, np.full(users, USER_FLOOR_RISE_DB)])
        self._rising = [*range(5), *range(9, 9 + users)]  # rows of the detectors of rises
        self.kinds = 9 + users
        self._keenness = np.array([KEEN_RISE] * 5 + [KEEN_ODDS] * 4 + [KEEN_RISE] * users)
        self._detector = Detector(voices=voices, bands=narrow, hop_s=hop_s)
        self._past_db = np.full((4, voices, narrow + 1), BAND_FLOOR_DB)
        self._past_db[:, :, 0] = WHOLE_FLOOR_DB
        shape = (voices, 5 + users)
        self._mean, self._deviation = np.zeros(shape), np.zeros(shape)
        self._rise_db = np.zeros(shape)
        self.score = np.zeros((voices, self.kinds))  # 1 is the threshold
        self.hit = np.zeros((voices, self.kinds))
        self._is_armed = np.ones((voices, self.kinds), bool)
        self._held = np.full((voices, self.kinds), OPENING_HOPS, np.int64)  # hops until it may fire again
        self._decay = math.exp(-hop_s / HIT_DECAY_S)
        self._learn = 1 - math.exp(-hop_s / STATISTICS_S)
        self.scale = np.ones((voices, self.kinds))  # what a learnt threshold multiplies the usual one by
        self._peaks: np.ndarray | None = None  # while learning: [voices, kinds, bins] counts of peaks by height
        self._rising_score = np.zeros((voices, self.kinds))

    def deafen(self, hops: int) -> None:
        """Fire nothing for so many hops: there is a seam in the sound, a click of our own making."""
        np.maximum(self._held, hops, out=self._held)
        self._is_armed[:] = False

    def step(
        self,
        hops: int,
        *,
        narrow_db: F32,
        narrow_power: F32,
        whole: np.ndarray,
        sensitivity: np.ndarray,
        hold_s: float,
        hysteresis: float,
    ) -> np.ndarray:
        """One hop; [voices, kinds], which detectors fired.

        narrow_db: [voices, narrow bands], not below `FLOOR_DB`. narrow_power: the same as power. whole: [voices] power.
        sensitivity: [voices], 0 the deafest to 1 the keenest, 0.5 as trained.
        hold_s: two hits of one detector are at least this far apart.
        hysteresis: the part of the threshold that the score must fall below, 0..1.
        """
        self._detector.step(hops, narrow_db)
        probability = self._detector.probability
        self._rises(hops, narrow_power, whole)
        threshold = self._mean + self._deviations * self._deviation + self._floors
        calm = np.minimum(self._rise_db, threshold)  # hits themselves must not raise the bar for the next
        score = self.score
        score[:, self._rising] = self._rise_db / threshold
        # Odds, so that the sensitivity shifts a probability as it scales a rise.
        score[:, 5:9] = probability / np.maximum(1.0 - probability, 1e-6) * ((1.0 - SURE) / SURE)
        score /= self.scale
        if self._peaks is not None:
            self._note_peaks(score)
        score *= np.exp2(self._keenness * (sensitivity - 0.5)[:, None])
        self._deviation += self._learn * (np.abs(calm - self._mean) - self._deviation)
        self._mean += self._learn * (calm - self._mean)
        np.maximum(self._held - 1, 0, out=self._held)
        fires = (score > 1.0) & self._is_armed & (self._held == 0)
        self._is_armed |= score < hysteresis
        self._is_armed &= ~fires
        self._held[fires] = max(math.ceil(hold_s / self._hop_s), 1)
        self.hit *= self._decay
        return fires

    def strike(self, voice: int, kind: int, strength: float) -> None:
        """Let the envelope of a detector jump."""
        self.hit[voice, kind] = max(self.hit[voice, kind], strength)

    def _rises(self, hops: int, narrow_power: F32, whole: np.ndarray) -> None:
        # Four places in turn: this hop, and those one, two and three hops ago.
        past = self._past_db
        current = past[hops % 4]
        current[:, 0] = whole + 10.0 ** (WHOLE_FLOOR_DB / 10.0)
        np.add(narrow_power, 10.0 ** (BAND_FLOOR_DB / 10.0), out=current[:, 1:])
        np.log10(current, out=current)
        current *= 10.0
        rise = np.maximum(current - np.maximum(past[(hops - 2) % 4], past[(hops - 3) % 4]), 0.0)
        self._rise_db[:, 0] = rise[:, 0]
        self._rise_db[:, 1:5] = np.add.reduceat(rise[:, 1:], self._firsts, axis=1) / self._counts
        for row, members in enumerate(self._user):
            self._rise_db[:, 5 + row] = rise[:, 1 + members].mean(axis=1)

    # Learning thresholds

    @property
    def is_learning(self) -> bool:
        """Whether it is listening for how hard this musician plays."""
        return self._peaks is not None

    def learn(self) -> None:
        """Begin to listen for how hard this musician plays."""
        self.scale[:] = 1.0
        self._peaks = np.zeros((*self.scale.shape, LEARN_BINS))
        self._rising_score = np.zeros_like(self.scale)

    def learnt(self) -> None:
        """Set each threshold between what was struck and what was not; a detector that heard little stays as it was."""
        assert self._peaks is not None
        places = np.geomspace(LEARN_LOW, LEARN_HIGH, LEARN_BINS)
        for voice, kind in np.ndindex(*self.scale.shape):
            self.scale[voice, kind] = _between_peaks(self._peaks[voice, kind], places)
        self._peaks = None

    def forget(self) -> None:
        """Take back what was learnt."""
        self.scale[:] = 1.0
        self._peaks = None

    def _note_peaks(self, score: np.ndarray) -> None:
        """Count the local maxima of the scores by height."""
        assert self._peaks is not None
        ended = (score < 0.6 * self._rising_score) & (self._rising_score > LEARN_LOW)
        if ended.any():
            place = np.log(self._rising_score[ended] / LEARN_LOW) / math.log(LEARN_HIGH / LEARN_LOW) * (LEARN_BINS - 1)
            np.add.at(self._peaks, (*np.nonzero(ended), np.clip(np.rint(place).astype(int), 0, LEARN_BINS - 1)), 1)
        self._rising_score = np.where(ended, score, np.maximum(self._rising_score, score))


def _between_peaks(counts: np.ndarray, places: np.ndarray) -> float:
    """The height that best parts the peaks in two (Otsu 1979, on their logarithms), within a quarter and four times 1.

    1 where there are too few peaks, or the two groups lie close.
    """
    total = counts.sum()
    heights = np.log(places)
    low = np.cumsum(counts)[:-1]
    high = total - low
    sums = np.cumsum(counts * heights)
    with np.errstate(invalid="ignore", divide="ignore"):
        means_low, means_high = sums[:-1] / low, (sums[-1] - sums[:-1]) / high
        between = np.where(
            (low >= LEARN_PEAKS) & (high >= LEARN_PEAKS), low * high * (means_high - means_low) ** 2, 0.0
        )
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    at = int(best[len(best) // 2])
    if between[at] == 0.0 or means_high[at] - means_low[at] < math.log(2.0):
        return 1.0
    return float(np.clip(np.exp(0.5 * (means_low[at] + means_high[at])), 0.25, 4.0))


def rise_sample(sound: F32, grain: int) -> int | None:
    """Sample of the window at which the sound grew: where two variances explain it best (Akaike's picker, Maeda 1985).

    sound: [samples] of a whole number of grains. None where it grew nowhere.
    It runs only when something was hit, and sees the whole band: the skin is heard before the drum's body.
    """
    energy = np.square(sound - np.float32(sound.mean())).astype(np.float64).reshape(-1, grain).sum(axis=1) + 1e-10
    total = np.cumsum(energy)
    count = len(energy)
    splits = np.arange(count // 4, count)
    before = total[splits - 1] / splits
    after = (total[-1] - total[splits - 1]) / (count - splits)
    cost = splits * np.log(before) + (count - splits) * np.log(after)
    cost[after <= before] = np.inf
    best = int(np.argmin(cost))
    return int(splits[best]) * grain if np.isfinite(cost[best]) else None
