"""Levels: how loud each band is, absolutely and beside its recent loudest, quickly and slowly; loudness and silence.

- The absolute form is the power in dB, 0 is a sine at full scale.
- The relative form, 0..1, lies between a reference that follows the band's peaks and falls slowly, and `RANGE_DB` below
  it. The reference never falls near the noise floor, so that a quiet room is not blown up, and a soft passage stays soft
  for as long as the reference needs to come down to it: dynamics survive. A hand may freeze the reference, have it begin
  anew, or change how fast it falls.
- Loudness is the momentary loudness of ITU-R BS.1770-4: K-weighted mean square over 400 ms, of the voice's mono mix. The
  weighting is applied to the power spectrum instead of to the samples: for what stands still it is right to 0.3 dB from
  60 Hz up, and reads a dB high at 40.

Thread: one. No clock, no I/O.
"""

import math
from dataclasses import dataclass

import numpy as np

from performer.flow import F32, F64

RANGE_DB = 36.0  # from level 0 to level 1, where the sound is loud enough
LEAST_ABOVE_FLOOR_DB = 20.0  # the reference stays at least so far above the floor
ADAPT_S = 25.0  # by default the reference falls by 10 dB in so long
ATTACK_S, RELEASE_S, PRESENCE_S = 0.012, 0.15, 3.0
LEAST_DB = -100.0  # absolute levels end here

LOUDNESS_S = 0.4
LOUDNESS_LEAST_LUFS = -80.0
LUFS_OFFSET_DB = -0.691  # BS.1770-4, annex 1: a sine of 997 Hz at full scale in one channel reads -3.01
SILENT_LUFS, SOUNDING_LUFS, SILENT_AFTER_S = -60.0, -54.0, 1.0
PEAK_FALL_DB_PER_S = 20.0


@dataclass(frozen=True, slots=True)
class LevelSteps:
    """Time constants as the parts of a difference that are followed in a hop."""

    attack: float
    release: float
    slow: float

    @classmethod
    def of(cls, hop_s: float) -> "LevelSteps":
        """For hops of `hop_s` seconds."""
        return cls(*(1 - math.exp(-hop_s / time_s) for time_s in (ATTACK_S, RELEASE_S, PRESENCE_S)))


class Levels:
    """Levels of so many bands of so many voices.

    floor_db: [bands], below this a relative level is 0.
    reference_db: [voices, bands] that a predecessor had reached; None to begin.
    time_ns: [voices, bands] the `time` of a predecessor.
    """

    def __init__(
        self,
        *,
        voices: int,
        floor_db: F64,
        hop_s: float,
        reference_db: F64 | None = None,
        time_ns: np.ndarray | None = None,
    ) -> None:
        shape = (voices, len(floor_db))
        self._floor_db = floor_db
        self._least_db = floor_db + LEAST_ABOVE_FLOOR_DB
        self._hop_s = hop_s
        self._steps = LevelSteps.of(hop_s)
        self.db = np.full(shape, LEAST_DB)
        self.level = np.zeros(shape)
        self.presence = np.zeros(shape)
        self.reference_db = np.broadcast_to(self._least_db, shape).copy()
        if reference_db is not None:
            np.maximum(self.reference_db, reference_db, out=self.reference_db)
        self.time_ns = np.zeros(shape, np.int64) if time_ns is None else time_ns.astype(np.int64).copy()

    def forget(self) -> None:
        """Begin anew with what is loud."""
        self.reference_db[:] = self._least_db

    def relative_of(self, db: float, voice: int, band: int) -> float:
        """0..1, where `db` lies beside the recent loudest of a band."""
        reference_db = float(self.reference_db[voice, band])
        low_db = max(reference_db - RANGE_DB, float(self._floor_db[band]))
        return min(max((db - low_db) / (reference_db - low_db), 0.0), 1.0)

    def step(self, power: np.ndarray, *, adapt_s: float, is_frozen: bool) -> None:
        """One hop of [voices, bands] power."""
        steps = self._steps
        self.db = np.maximum(10.0 * np.log10(power + 1e-12), LEAST_DB)
        reference_db = self.reference_db
        if not is_frozen:
            # The reference climbs with half the level's own attack, so that one crackle does not silence a minute.
            climb = np.maximum(self.db - reference_db, 0.0) * (steps.attack * 0.5)
            np.maximum(reference_db + climb - 10.0 * self._hop_s / adapt_s, self._least_db, out=reference_db)
        low_db = np.maximum(reference_db - RANGE_DB, self._floor_db)
        relative = (self.db - low_db) / (reference_db - low_db)
        change = np.minimum(np.maximum(relative, 0.0), 1.0) - self.level
        self.level += np.where(change > 0, steps.attack, steps.release) * change
        self.presence += steps.slow * (self.level - self.presence)
        # Whole nanoseconds in 64 bits: sums are exact, and 292 years long.
        self.time_ns += np.rint(self.level * (self._hop_s * 1e9)).astype(np.int64)


class Loudness:
    """Momentary loudness, peak and silence of each voice."""

    def __init__(self, *, voices: int, hop_s: float) -> None:
        self._energies = np.zeros((max(round(LOUDNESS_S / hop_s), 1), voices))
        self._at = 0
        self._hop_s = hop_s
        self._quiet_s = np.full(voices, SILENT_AFTER_S)
        self.lufs = np.full(voices, LOUDNESS_LEAST_LUFS)
        self.peak_db = np.full(voices, LEAST_DB)
        self.silence = np.ones(voices)

    def step(self, weighted: np.ndarray, peak: np.ndarray) -> None:
        """One hop.

        weighted: [voices], K-weighted power, 1 for a sine at full scale where the weight is 1.
        peak: [voices], largest sample of the hop.
        """
        self._energies[self._at] = weighted
        self._at = (self._at + 1) % len(self._energies)
        mean_square = self._energies.mean(axis=0) * 0.5
        self.lufs = np.maximum(LUFS_OFFSET_DB + 10.0 * np.log10(mean_square + 1e-12), LOUDNESS_LEAST_LUFS)
        fallen_db = self.peak_db - PEAK_FALL_DB_PER_S * self._hop_s
        self.peak_db = np.maximum(np.maximum(20.0 * np.log10(peak + 1e-5), fallen_db), LEAST_DB)
        is_silent = self.silence > 0
        quiet = self.lufs < np.where(is_silent, SOUNDING_LUFS, SILENT_LUFS)
        self._quiet_s = np.where(quiet, np.minimum(self._quiet_s + self._hop_s, SILENT_AFTER_S), 0.0)
        self.silence = (self._quiet_s >= SILENT_AFTER_S).astype(np.float64)


def k_weights(frequencies_hz: np.ndarray) -> F32:
    """The power gain of BS.1770's K-weighting at each frequency: a high shelf, then a high pass.

    ITU-R BS.1770-4, annex 1, tables 1 and 2 give both filters by their coefficients at 48 kHz; this is their response.
    """
    z = np.exp(2j * np.pi * np.minimum(np.asarray(frequencies_hz, np.float64), 23990.0) / 48000.0)
    shelf = (1.53512485958697 - 2.69169618940638 / z + 1.19839281085285 / z**2) / (
        1.0 - 1.69065929318241 / z + 0.73248077421585 / z**2
    )
    high_pass = (1.0 - 2.0 / z + 1.0 / z**2) / (1.0 - 1.99004745483398 / z + 0.99007225036621 / z**2)
    return (np.abs(shelf * high_pass) ** 2).astype(np.float32)
