"""Made-up music with known onsets, for teaching the detector of hits: drums, melodies, both, and what must not fire.

Drums are one-shots out of a folder of samples, or those of a drum machine, made of sines and noise. Made-up drummers play
them: patterns of a bar with accents, ghost notes, swing, fills and uneven hands. Melodies are made of sines. All of it is
mixed, coloured, clipped and covered in noise by chance, and every piece follows from its number alone.

Thread: any. Owns: nothing; samples are kept once they are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from performer.audio.source import decode
from performer.flow import F32

RATE_HZ = 44100
ONSET, KICK, SNARE, HAT = 0, 1, 2, 3  # columns of the labels; every hit is an onset

# Of Sonic Pi's samples (CC0; Debian's package sonic-pi-samples), by what they are.
KICKS = (
    "bd_ada bd_boom bd_fat bd_gas bd_haus bd_klub bd_mehackit bd_pure bd_sone bd_tek bd_zome bd_zum bd_808 "
    "drum_heavy_kick drum_bass_hard drum_bass_soft elec_hollow_kick elec_soft_kick"
)
SNARES = (
    "sn_dolf sn_dub sn_generic sn_zome drum_snare_hard drum_snare_soft elec_hi_snare elec_lo_snare elec_mid_snare "
    "elec_snare elec_filt_snare perc_snap perc_snap2"
)
HATS = "drum_cymbal_closed drum_cymbal_pedal drum_cymbal_open elec_cymbal elec_tick drum_cymbal_soft"
OTHERS = (
    "drum_tom_hi_hard drum_tom_hi_soft drum_tom_lo_hard drum_tom_lo_soft drum_tom_mid_hard drum_tom_mid_soft drum_cowbell "
    "elec_bong elec_blip elec_pop elec_wood elec_twip perc_bell tabla_na tabla_ke1 tabla_ghe1 tabla_tas1 tabla_re "
    "guit_harmonics drum_splash_soft drum_splash_hard elec_ping elec_plip bass_hit_c"
)
BEDS = "ambi_choir ambi_drone loop_drone_g_97 ambi_glass_hum ambi_haunted_hum ambi_soft_buzz vinyl_hiss ambi_lunar_land"
MACHINES = 0.35  # the part of the drums that come from a drum machine
VOICES = ("pluck", "piano", "organ", "bass", "bow", "voice", "bell")

Hit = tuple[float, int]  # (at_s, column; ONSET where it is no drum)


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound and what is struck in it."""

    sound: F32  # [n] at RATE_HZ
    hits: tuple[Hit, ...]  # ascending


class Kit:
    """Samples out of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sample = lru_cache(maxsize=None)(self._sample)

    def _sample(self, name: str) -> F32:
        """[n] at RATE_HZ, from its attack on, its peak at 1. Raises SourceError."""
        decoded = decode(str(self.folder / f"{name}.flac"))
        sound = decoded.samples.mean(axis=1)
        if decoded.rate_hz != RATE_HZ:
            sound = _resampled(sound, decoded.rate_hz / RATE_HZ)
        loud = np.abs(sound)
        sound = sound[max(int(np.argmax(loud > 0.02 * loud.max())) - 8, 0) :]
        return sound / np.abs(sound).max()

    def bed(self, rng: np.random.Generator, count: int) -> F32:
        """A sound that goes on and on."""
        sound = self.sample(str(rng.choice(BEDS.split())))
        return np.tile(sound, count // len(sound) + 1)[:count]


def piece(kit: Kit, number: int, *, length_s: float = 20.0) -> Piece:
    """The piece of this number."""
    rng = np.random.default_rng(number)
    count, kind = int(length_s * RATE_HZ), rng.random()
    beat_s = 60.0 / float(np.exp(rng.uniform(np.log(62), np.log(175))))
    sound, hits = np.zeros(count, np.float32), []
    if kind < 0.72:
        sound, hits = drums(kit, rng, count, beat_s)
    if 0.5 <= kind < 0.85:
        for _ in range(rng.integers(1, 4)):
            melody_sound, melody_hits = melody(rng, count, beat_s)
            sound = sound + melody_sound * rng.uniform(0.2, 0.9)
            hits += melody_hits
    if kind >= 0.85:
        sound, hits = standing(kit, rng, count)
    return Piece(coloured(rng, sound / max(float(np.abs(sound).max()), 1e-6)), tuple(sorted(hits)))


def drums(kit: Kit, rng: np.random.Generator, count: int, beat_s: float) -> tuple[F32, list[Hit]]:
    """A made-up drummer."""

    def one(names: str, machine: Callable[[np.random.Generator], F32] | None = None) -> F32:
        if machine and rng.random() < MACHINES:
            return machine(rng)
        return _resampled(kit.sample(str(rng.choice(names.split()))), rng.uniform(0.85, 1.2))

    kick, snare, other_snare = one(KICKS, _machine_kick), one(SNARES, _machine_snare), one(SNARES, _machine_snare)
    hat, other_hat = one(HATS, _machine_hat), one(HATS, _machine_hat)
    others = [one(OTHERS) for _ in range(3)]
    gains = rng.uniform([0.5, 0.35, 0.1, 0.2], [1.0, 1.0, 0.5, 0.7])  # of kick, snare, hat and the rest
    kicks = rng.choice([0.0, 0.1, 0.25, 0.4], 16)  # how likely each sixteenth of a bar is
    kicks[0], kicks[8] = 0.95, max(kicks[8], rng.choice([0.3, 0.8]))
    if rng.random() < 0.2:
        kicks[::4] = 1.0
    snares = np.full(16, rng.choice([0.0, 0.05, 0.15, 0.3]))
    snares[[4, 12]] = 0.97
    hats = np.where(np.arange(16) % rng.choice([1, 2, 2, 2, 4]) == 0, 0.95, rng.choice([0.0, 0.1, 0.3]))
    rest = rng.choice([0.0, 0.02, 0.06], 16)
    # Drums that always sound together could not be told apart: some drummers play one alone, some no hat on a drum.
    habit = rng.random()
    if habit < 0.25:
        alone = rng.choice(3, p=(0.25, 0.3, 0.45))
        kicks, snares, hats = (each * (index == alone) for index, each in enumerate((kicks, snares, hats)))
        rest = rest * rng.choice([0.0, 1.0])
        if alone == 1:
            snares = np.maximum(snares, rng.choice([0.1, 0.3, 0.6]))
    elif habit < 0.5:
        hats = np.where((kicks > 0.3) | (snares > 0.3), 0.0, hats)
    swing, uneven_s = rng.choice([0.0, 0.0, 0.0, 0.1, 0.2, 0.33]), rng.uniform(0.0, 0.012)

    sound, hits = np.zeros(count + 6 * RATE_HZ, np.float32), []
    begin_s, step_s, length_s = rng.uniform(0.05, 0.8), beat_s / 4, count / RATE_HZ

    def strike(sample: F32, loud: float, gain: float, column: int, at_s: float) -> None:
        at = int(max(at_s + rng.normal(0.0, uneven_s), 0.0) * RATE_HZ)
        part = sample[: 5 * RATE_HZ]
        sound[at : at + len(part)] += part[: len(sound) - at] * (gain * loud)
        hits.append((at / RATE_HZ, column))

    def loud(mean: float, spread: float) -> float:
        return float(np.clip(rng.normal(mean, spread), 0.04, 1.0))

    for bar in range(int(length_s / (16 * step_s)) + 1):
        is_fill, is_break = rng.random() < 0.12, rng.random() < 0.06
        for place in range(16):
            at_s = begin_s + (16 * bar + place + (swing if place % 2 else 0.0)) * step_s
            if is_break or at_s > length_s - 0.3:
                continue
            on_beat = place % 4 == 0
            if rng.random() < kicks[place]:
                strike(kick, loud(0.75 if on_beat else 0.55, 0.14), gains[0], KICK, at_s)
            if rng.random() < snares[place]:
                accent = place in (4, 12)
                which = snare if accent or rng.random() < 0.7 else other_snare
                strike(which, loud(0.83 if accent else 0.24, 0.11), gains[1], SNARE, at_s)
            if rng.random() < hats[place]:
                which = hat if rng.random() < 0.9 else other_hat
                strike(which, loud(0.63 if on_beat else 0.43, 0.14), gains[2], HAT, at_s)
            if rng.random() < (0.5 if is_fill and place >= 8 else rest[place]):
                strike(others[rng.integers(3)], loud(0.63, 0.17), gains[3], ONSET, at_s)
            if rng.random() < 0.01:  # a drag
                strike(snare, loud(0.31, 0.12), gains[1], SNARE, at_s + rng.uniform(0.03, 0.08))
    sound = sound[:count]
    if rng.random() < 0.5:
        sound = sound + kit.bed(rng, count) * (rng.uniform(0.05, 0.35) * np.abs(sound).max())
    if rng.random() < 0.3:
        sound = _in_a_room(rng, sound)
    if rng.random() < 0.3:
        sound = np.tanh(sound * rng.uniform(1.0, 4.0))
    return (sound / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32), hits


def _machine_kick(rng: np.random.Generator) -> F32:
    """[n], a sine that falls to its pitch, and the click of a beater."""
    t = np.arange(int(0.5 * RATE_HZ)) / RATE_HZ
    above_hz, fall_s = np.exp(rng.uniform(np.log(30), np.log(400))), np.exp(rng.uniform(np.log(0.004), np.log(0.04)))
    turns = rng.uniform(38, 75) * t + above_hz * fall_s * (1 - np.exp(-t / fall_s))
    sound = np.sin(2 * np.pi * turns) * np.exp(-t / np.exp(rng.uniform(np.log(0.03), np.log(0.25))))
    click = np.sin(2 * np.pi * rng.uniform(800, 5000) * t) if rng.random() < 0.5 else rng.normal(size=len(t))
    sound = sound + rng.choice([0.0, 0.1, 0.3, 0.5]) * click * np.exp(-t / rng.uniform(0.0005, 0.004))
    return _at_peak(np.tanh(sound * rng.uniform(0.3, 3.0)))


def _machine_snare(rng: np.random.Generator) -> F32:
    """[n], noise and two tones, or a clap: some bursts of noise and their echo."""
    t = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
    wires = _passed(rng, len(t), np.exp(rng.uniform(np.log(80), np.log(2000))), rng.choice([5000.0, 22050.0]))
    if rng.random() < 0.2:
        envelope, apart_s = np.exp(-t / rng.uniform(0.04, 0.1)), rng.uniform(0.007, 0.014)
        for burst in range(rng.integers(2, 4)):
            since = t - burst * apart_s
            envelope = np.where(since >= 0, np.exp(-since / (apart_s / 3)) + (burst > 0) * envelope * 0.5, envelope)
        return _at_peak(wires * envelope)
    sound = wires * rng.uniform(0.1, 1.0) * np.exp(-t / np.exp(rng.uniform(np.log(0.025), np.log(0.15))))
    pitch_hz = rng.uniform(140, 300)
    for ratio, gain in ((1.0, 1.0), (rng.uniform(1.4, 1.9), rng.choice([0.0, 0.5]))):
        sound = sound + gain * np.sin(2 * np.pi * ratio * pitch_hz * t) * np.exp(-t / rng.uniform(0.02, 0.09))
    return _at_peak(sound)


def _machine_hat(rng: np.random.Generator) -> F32:
    """[n], noise or six squares out of tune, high above, short or open."""
    t = np.arange(int(0.7 * RATE_HZ)) / RATE_HZ
    low_hz = np.exp(rng.uniform(np.log(3000), np.log(9000)))
    sound = _passed(rng, len(t), low_hz, 22050.0)
    if rng.random() < 0.35:
        squares = sum(np.sign(np.sin(2 * np.pi * rng.uniform(300, 900) * t)) for _ in range(6))
        spectrum = np.fft.rfft(squares) * np.clip(np.fft.rfftfreq(len(t), 1 / RATE_HZ) / low_hz - 0.7, 0.0, 1.0)
        sound = np.fft.irfft(spectrum, len(t))
    open_s = np.exp(rng.uniform(np.log(0.08), np.log(0.3)))
    decay_s = np.exp(rng.uniform(np.log(0.008), np.log(0.06))) if rng.random() < 0.75 else open_s
    return _at_peak(sound * np.exp(-t / decay_s))


def _passed(rng: np.random.Generator, count: int, low_hz: float, high_hz: float) -> np.ndarray:
    """[count], noise between two frequencies, with soft edges, its deviation 1."""
    frequencies_hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    slopes = np.clip(frequencies_hz / low_hz - 0.5, 0.0, 1.0) * np.clip(2.0 - frequencies_hz / high_hz, 0.0, 1.0)
    sound = np.fft.irfft(np.fft.rfft(rng.normal(size=count)) * slopes, count)
    return sound / sound.std()


def _at_peak(sound: np.ndarray) -> F32:
    return (sound / np.abs(sound).max()).astype(np.float32)


def melody(rng: np.random.Generator, count: int, beat_s: float) -> tuple[F32, list[Hit]]:
    """Notes of one made-up instrument."""
    voice = str(rng.choice(VOICES))
    low_hz, high_hz = {"bass": (40, 130), "voice": (110, 600), "bow": (100, 1200)}.get(voice, (90, 1500))
    length, legato = beat_s * rng.choice([0.25, 0.5, 1.0, 2.0]), rng.uniform(0.3, 1.3)
    together = 1 if voice in ("voice", "bass") else rng.choice([1, 1, 1, 2, 3])
    pitch_hz, gain = float(np.exp(rng.uniform(np.log(low_hz), np.log(high_hz)))), rng.uniform(0.15, 1.0)
    sound, hits = np.zeros(count + RATE_HZ, np.float32), []
    at_s = 0.2 + rng.uniform(0.0, beat_s)
    while at_s < count / RATE_HZ - 0.4:
        note_s = length * rng.choice([0.5, 1.0, 1.0, 1.0, 2.0])
        step = rng.choice([-7, -5, -3, -2, -1, 1, 2, 3, 4, 5, 7])
        pitch_hz = float(np.clip(pitch_hz * 2 ** (step / 12), low_hz, high_hz))
        if rng.random() < 0.85:
            at, strength = int(at_s * RATE_HZ), rng.uniform(0.4, 1.0)
            for index in range(together):
                above = rng.choice([0, 3, 4, 7, 12]) if index else 0
                note = _note(rng, voice, pitch_hz * 2 ** (above / 12), min(note_s * legato + 0.05, 3.0))
                note = note / np.abs(note).max() * (strength * gain / together)
                sound[at : at + len(note)] += note[: len(sound) - at].astype(np.float32)
            hits.append((at / RATE_HZ, ONSET))
        at_s += note_s
    return sound[:count], hits


def standing(kit: Kit, rng: np.random.Generator, count: int) -> tuple[F32, list[Hit]]:
    """What goes on without a beginning, and in half of the cases clicks in it."""
    t = np.arange(count) / RATE_HZ
    kinds: tuple[Callable[[], np.ndarray], ...] = (
        lambda: rng.normal(size=count) * 0.3,
        lambda: np.sin(2 * np.pi * np.exp(rng.uniform(np.log(40), np.log(4000))) * t),
        lambda: np.cumsum(rng.normal(size=count) * 0.01),
        lambda: np.zeros(count),
        lambda: (
            np.sin(2 * np.pi * rng.uniform(80, 800) * t + 4 * np.sin(2 * np.pi * rng.uniform(3, 8) * t))
            * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(2, 9) * t))
        ),
        lambda: kit.bed(rng, count),
    )
    opening = np.minimum(t / 0.5, 1.0)
    sound = kinds[rng.integers(6)]() * opening
    sound = sound / max(float(np.abs(sound).max()), 1e-6)
    if rng.random() < 0.5:
        sound = 0.6 * sound + 0.4 * kinds[rng.integers(6)]() * opening
    hits = []
    if rng.random() < 0.5:
        every_s, at_s = rng.uniform(0.15, 0.8), 0.6
        height = rng.uniform(0.3, 4.0) * (float(np.abs(sound).std()) + 0.02)
        while at_s < count / RATE_HZ - 0.3:
            at, long = int(at_s * RATE_HZ), int(rng.uniform(0.002, 0.05) * RATE_HZ)
            since = np.arange(4 * long)
            pitch_hz = np.exp(rng.uniform(np.log(100), np.log(8000)))
            tone = np.cos(2 * np.pi * pitch_hz / RATE_HZ * since) if rng.random() < 0.6 else rng.normal(size=4 * long)
            click = (np.exp(-since / long) * tone)[: count - at]
            sound[at : at + len(click)] += height * click * rng.uniform(0.5, 1.5)
            hits.append((at / RATE_HZ, ONSET))
            at_s += every_s * rng.choice([1.0, 1.0, 1.0, 0.5, 2.0])
    return sound.astype(np.float32), hits


def coloured(rng: np.random.Generator, sound: np.ndarray) -> F32:
    """Level, noise, filters, clipping and DC, as rooms, converters and engineers add them."""
    count = len(sound)
    sound = sound * 10 ** (rng.uniform(-40.0, -0.5) / 20) + rng.normal(size=count) * 10 ** (
        rng.uniform(-110.0, -58.0) / 20
    )
    frequencies_hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    if rng.random() < 0.15:
        sound = np.fft.irfft(np.fft.rfft(sound) / (1 + (frequencies_hz / rng.uniform(5000, 12000)) ** 8), count)
    if rng.random() < 0.2:
        sound = np.fft.irfft(np.fft.rfft(sound) * ((frequencies_hz + 20) / 1000) ** rng.uniform(-0.4, 0.3), count)
        sound = sound / max(float(np.abs(sound).max()), 1.0)
    if rng.random() < 0.1:
        sound = np.clip(sound * rng.uniform(1.5, 4.0), -1.0, 1.0)
    if rng.random() < 0.1:
        sound = sound + rng.uniform(-0.2, 0.2)
    return sound.astype(np.float32)


def _resampled(sound: F32, by: float) -> F32:
    return np.interp(np.arange(int(len(sound) / by)) * by, np.arange(len(sound)), sound).astype(np.float32)


def _in_a_room(rng: np.random.Generator, sound: F32) -> F32:
    count, tail = len(sound), int(RATE_HZ * rng.uniform(0.1, 0.5))
    echo = rng.normal(size=tail) * np.exp(-np.arange(tail) / (tail / 5))
    echo *= rng.uniform(0.06, 0.36) / np.linalg.norm(echo)
    wet = np.fft.irfft(np.fft.rfft(sound, count + tail) * np.fft.rfft(echo, count + tail))[:count]
    return (sound + wet).astype(np.float32)


def _note(rng: np.random.Generator, voice: str, pitch_hz: float, length_s: float) -> np.ndarray:
    """One note of a made-up instrument."""
    t = np.arange(max(int(length_s * RATE_HZ), 400)) / RATE_HZ

    def partials(most: int) -> range:
        return range(1, min(most, int(15000 / pitch_hz) + 1) + 1)

    def shaped(sound: Any, attack_s: float, decay_s: float, sustain: float) -> np.ndarray:
        fall = sustain + (1 - sustain) * np.exp(-np.maximum(t - attack_s, 0.0) / decay_s)
        envelope = np.minimum(t / max(attack_s, 1e-4), 1.0) * fall
        end = min(int(0.03 * RATE_HZ), len(t))
        envelope[-end:] *= np.linspace(1.0, 0.0, end)
        return sound * envelope

    def trembling(depth: float, rate_hz: float, after_s: float) -> np.ndarray:
        turn = 1 + depth * np.sin(2 * np.pi * rate_hz * t) * np.minimum(t / after_s, 1.0)
        return 2 * np.pi * pitch_hz * np.cumsum(turn) / RATE_HZ

    turn = 2 * np.pi * pitch_hz * t
    match voice:
        case "pluck":
            slope = rng.uniform(0.8, 1.6)
            parts = (np.sin(turn * k + rng.uniform(0, 6)) * np.exp(-t * (1.5 + k)) / k**slope for k in partials(11))
            return shaped(sum(parts), 0.002, 2.0, 1.0)
        case "piano":
            parts = (np.sin(turn * k * (1 + 4e-4 * k * k)) * np.exp(-t * (0.6 + 0.5 * k)) / k**1.2 for k in partials(9))
            hammer = rng.normal(size=len(t)) * np.exp(-t * 220.0) * 0.05
            return shaped(sum(parts) + hammer, 0.003, 3.0, 1.0)
        case "organ":
            return shaped(sum(np.sin(turn * k) / k for k in range(1, 5)), rng.uniform(0.005, 0.03), 1.0, 0.9)
        case "bass":
            return shaped(np.tanh(1.5 * sum(np.sin(turn * k) / k**1.1 for k in range(1, 9))), 0.004, 0.4, 0.5)
        case "bow":
            phase = trembling(0.006, rng.uniform(4, 7), 0.3)
            return shaped(sum(np.sin(phase * k) / k**1.3 for k in partials(13)), rng.uniform(0.03, 0.09), 1.0, 0.9)
        case "voice":
            phase = trembling(0.012, rng.uniform(4, 6.5), 0.2)
            first_hz, second_hz = rng.uniform(300, 900), rng.uniform(900, 2500)
            sound = np.zeros(len(t))
            for k in range(1, min(40, int(8000 / pitch_hz) + 1)):
                f = pitch_hz * k
                vowel = np.exp(-(((f - first_hz) / 200) ** 2)) + 0.6 * np.exp(-(((f - second_hz) / 300) ** 2)) + 0.05
                sound += np.sin(phase * k) * vowel
            if rng.random() < 0.4:  # a consonant before it
                long = int(rng.uniform(0.03, 0.09) * RATE_HZ)
                hiss = np.diff(rng.normal(size=long), prepend=0.0) * np.hanning(long) * (0.25 * np.abs(sound).max())
                sound = np.concatenate([hiss, sound])[: len(t)]
            return shaped(sound, rng.uniform(0.01, 0.04), 1.0, 0.8)
        case _:
            bell = ((1.0, 1.5), (2.01, 2.0), (2.76, 3.0), (5.4, 5.0))
            return shaped(sum(np.sin(turn * ratio) * np.exp(-t * fall) for ratio, fall in bell), 0.001, 3.0, 1.0)
