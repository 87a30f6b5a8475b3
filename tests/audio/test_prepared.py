"""Prepared tracks: beats, bars, sections and drops of sounds whose truth is known, and the cache."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from performer.audio import prepared as tracks
from performer.audio.form import Drop, Section
from performer.audio.prepared import Prepared
from performer.audio.source import Sound, SourceError
from performer.flow import F32, F64
from tests.rig import signals

RATE_HZ = 44100
DATA = Path(__file__).parent.parent / "data"
BPM = 123.0
LOUD, CALM = 32, 16  # beats of the parts of `song`: loud, calm, loud again


def _tone(*pitches_hz: float, length_s: float, decay_s: float, db: float) -> F32:
    fade = np.exp(-np.arange(round(length_s * RATE_HZ)) / (decay_s * RATE_HZ)).astype(np.float32)
    return sum((signals.sine(pitch_hz, length_s, db=db) for pitch_hz in pitches_hz), signals.silence(length_s)) * fade


def _hiss(*, length_s: float, decay_s: float, db: float) -> F32:
    fade = np.exp(-np.arange(round(length_s * RATE_HZ)) / (decay_s * RATE_HZ)).astype(np.float32)
    return np.diff(signals.noise(length_s, db=db), prepend=np.float32(0)) * fade


KICK = _tone(55.0, length_s=0.3, decay_s=0.08, db=-6.0)
SNARE = _tone(190.0, length_s=0.2, decay_s=0.04, db=-16.0) + _hiss(length_s=0.2, decay_s=0.05, db=-16.0)
HAT = _hiss(length_s=0.06, decay_s=0.015, db=-24.0)


def _laid(length_s: float, placed: list[tuple[float, F32]]) -> F32:
    sound = signals.noise(length_s, db=-80.0)
    for at_s, part in placed:
        first = round(at_s * RATE_HZ)
        sound[first : first + len(part)] += part[: max(len(sound) - first, 0)]
    return sound


def _beats_s(count: int, *, bpm: float = BPM, first_s: float = 0.25) -> F64:
    return first_s + 60.0 / bpm * np.arange(count)


@pytest.fixture(scope="module")
def song() -> Sound:
    """Drums and bass for 32 beats at 123 a minute, 16 beats of a soft chord and hats, and all of it again, higher."""
    beats_s = _beats_s(2 * LOUD + CALM)
    period_s = 60.0 / BPM
    placed = []
    for number, at_s in enumerate(beats_s):
        calm = LOUD <= number < LOUD + CALM
        placed += [(at_s, HAT), (at_s + period_s / 2, HAT)]
        if calm:
            placed.append((at_s, _tone(440.0, 554.0, 659.0, length_s=period_s, decay_s=1.0, db=-38.0)))
            continue
        root_hz = 110.0 if number < LOUD else 146.8
        chord = (2 * root_hz, 3 * root_hz) if number // 4 % 2 else (2.25 * root_hz, 3.375 * root_hz)
        placed.append((at_s, SNARE if number % 2 else KICK))
        if number % 4 == 0:  # what changes at a bar
            placed.append((at_s, _tone(*chord, length_s=4 * period_s, decay_s=2.0, db=-22.0)))
            placed.append((at_s, 0.4 * KICK))
    return Sound(_laid(beats_s[-1] + 0.9, placed)[:, None], RATE_HZ)


@pytest.fixture(scope="module")
def known(song: Sound) -> Prepared:
    return tracks.listen(song)


def _file(path: Path, sound: F32, *, rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, sound, rate_hz)
    return path


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of prepared tracks, empty."""
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def click_track(tmp_path: Path) -> Path:
    """A file of six seconds, quickly prepared."""
    sound = _laid(6.0, [(at_s, KICK + np.pad(HAT, (0, len(KICK) - len(HAT)))) for at_s in _beats_s(11, bpm=120.0)])
    return _file(tmp_path / "clicks.wav", sound)


# What is found.


def test_the_beats_of_a_machine_are_one_exact_grid(known: Prepared):
    true_s = _beats_s(2 * LOUD + CALM)
    assert known.even
    assert known.bpm == pytest.approx(BPM, abs=0.02)
    found_s = np.array(known.beats_s)
    assert np.ptp(np.diff(found_s)) < 1e-6
    nearest_s = found_s[np.abs(true_s[:, None] - found_s).argmin(axis=1)]
    assert np.abs(nearest_s - true_s).max() < 0.010


def test_bars_begin_with_the_accent(known: Prepared):
    assert known.beats_per_bar == 4
    off_s = (np.array(known.downbeats_s) - 0.25) % (4 * 60.0 / BPM)
    assert np.minimum(off_s, 4 * 60.0 / BPM - off_s).max() < 0.015


def test_sections_lie_on_bars_and_the_calm_one_is_told(known: Prepared):
    bounds_s = _beats_s(2 * LOUD + CALM)[[LOUD, LOUD + CALM]]
    starts_s = np.array([section.start_s for section in known.sections])
    assert len(known.sections) == 3
    assert starts_s[0] == 0.0 and known.sections[-1].end_s == pytest.approx(known.duration_s)
    assert np.abs(starts_s[1:] - bounds_s).max() < 0.015
    assert all(a.end_s == b.start_s for a, b in zip(known.sections, known.sections[1:], strict=False))
    loud, calm, again = known.sections
    assert calm.label not in (loud.label, again.label)
    assert calm.energy < min(loud.energy, again.energy) and calm.loudness_db < loud.loudness_db - 6
    assert all(0.0 <= section.energy <= 1.0 for section in known.sections)


def test_the_drop_is_where_the_drums_come_back(known: Prepared):
    (drop,) = known.drops
    assert drop.at_s == pytest.approx(_beats_s(99)[LOUD + CALM], abs=0.015)
    assert 0.3 < drop.strength <= 1.0


def test_a_waltz_has_three_beats_a_bar():
    beats_s = _beats_s(60, bpm=108.0)
    placed = [(at_s, HAT if number % 3 else KICK) for number, at_s in enumerate(beats_s)]
    for bar, at_s in enumerate(beats_s[::3]):
        root_hz = (220.0, 293.7, 246.9, 329.6)[bar % 4]
        placed.append((at_s, _tone(root_hz, 1.5 * root_hz, length_s=1.6, decay_s=0.8, db=-24.0)))
    known = tracks.listen(Sound(_laid(beats_s[-1] + 0.5, placed)[:, None], RATE_HZ))
    assert known.bpm == pytest.approx(108.0, rel=0.01)
    assert known.beats_per_bar == 3
    bar_s = 3 * 60.0 / 108.0
    assert np.abs((np.array(known.downbeats_s) - 0.25 + bar_s / 2) % bar_s - bar_s / 2).max() < 0.02


def test_a_tempo_that_gives_way_is_followed():
    periods_s = np.linspace(0.48, 0.60, 60)  # 125 to 100 a minute
    true_s = 0.5 + np.concatenate([[0.0], np.cumsum(periods_s)])
    placed = [(at_s, SNARE if number % 2 else KICK) for number, at_s in enumerate(true_s)]
    known = tracks.listen(Sound(_laid(true_s[-1] + 0.5, placed)[:, None], RATE_HZ))
    assert not known.even
    f, _, _ = signals.f_measure(list(known.beats_s), true_s.tolist(), window_s=0.03)
    assert f > 0.9
    assert known.beat_at(3.0)[1] > 118.0 and known.beat_at(30.0)[1] < 106.0


def test_a_drummer_is_heard():
    truth = json.loads((DATA / "groove_rock_105.json").read_text())
    sound, rate_hz = soundfile.read(DATA / "groove_rock_105.ogg", dtype="float32")
    known = tracks.listen(Sound(sound[:, None], rate_hz))
    f, precision, _ = signals.f_measure(list(known.onsets_s), truth["onsets_s"])
    assert f > 0.85 and precision > 0.9
    assert known.bpm == pytest.approx(105.0, rel=0.02)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(signals.silence(12.0), id="silence"),
        pytest.param(signals.noise(12.0, db=-20.0), id="noise"),
        pytest.param(signals.sine(220.0, 12.0), id="a tone"),
        pytest.param(signals.noise(1.0, db=-20.0), id="a second"),
        pytest.param(signals.clicks(1, every_s=0.1)[0], id="one click"),
        pytest.param(np.full(5, 0.5, np.float32), id="five samples"),
        pytest.param(np.full(RATE_HZ, np.nan, np.float32), id="no numbers"),
    ],
)
def test_what_has_no_beat_has_none(sound: F32):
    known = tracks.listen(Sound(sound[:, None], RATE_HZ))
    assert (known.bpm, known.beats_s, known.drops) == (0.0, (), ())
    assert known.beat_at(1.0) == (0.0, 0.0)
    assert len(known.sections) == 1
    assert (known.sections[0].start_s, known.sections[0].end_s) == (0.0, pytest.approx(len(sound) / RATE_HZ))
    assert np.isfinite(known.sections[0].loudness_db)


def test_other_rates_and_channels_are_the_same_piece(song: Sound, known: Prepared):
    import librosa

    half = librosa.resample(song.samples[:, 0], orig_sr=RATE_HZ, target_sr=32000)
    other = tracks.listen(Sound(np.stack([half, half], axis=1), 32000))
    assert other.beats_s == pytest.approx(known.beats_s, abs=0.002)
    assert [section.label for section in other.sections] == [section.label for section in known.sections]


# Where a beat is.


def _by_hand(**changes) -> Prepared:
    made = Prepared(
        name="by hand",
        content_hash="",
        duration_s=6.0,
        rate_hz=RATE_HZ,
        bpm=120.0,
        even=False,
        beats_s=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
        beats_per_bar=4,
        first_downbeat=1,
        onsets_s=(1.0, 2.0),
        sections=(Section(0.0, 6.0, "A", -20.0, 1.0),),
        drops=(Drop(2.0, 0.5),),
    )
    return replace(made, **changes)


def test_beats_are_numbered_from_the_first_downbeat():
    known = _by_hand()
    assert known.downbeats_s == (1.5, 4.0)
    assert known.beat_at(1.5) == (0.0, 120.0)
    assert known.beat_at(1.0) == (-1.0, 120.0)
    assert known.beat_at(2.25) == (1.5, 120.0)
    assert known.beat_at(3.5) == (3.5, 60.0)
    assert known.beat_at(4.0) == (4.0, 60.0)


def test_beats_go_on_beyond_both_ends():
    known = _by_hand()
    assert known.beat_at(0.0) == (-3.0, 120.0)
    assert known.beat_at(6.0) == (6.0, 60.0)
    numbers = [known.beat_at(at_s)[0] for at_s in np.linspace(-2.0, 9.0, 500)]
    assert np.diff(numbers).min() > 0.0


@pytest.mark.parametrize("beats_s", [(), (1.0,)])
def test_without_beats_there_is_no_number(beats_s: tuple[float, ...]):
    assert _by_hand(beats_s=beats_s, first_downbeat=0).beat_at(2.0) == (0.0, 0.0)


# The cache.


def test_a_track_is_listened_to_once(cache: Path, click_track: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    first = tracks.prepare(click_track, announce=said.append)
    (stored,) = cache.iterdir()
    content = stored.read_bytes()
    assert first.name == "clicks.wav" and first.content_hash in stored.name and len(said) == 1

    monkeypatch.setattr(tracks, "listen", lambda *_, **__: pytest.fail("listened again"))
    monkeypatch.setattr(tracks, "decode", lambda *_: pytest.fail("decoded again"))
    assert tracks.prepare(click_track, announce=said.append) == first
    assert stored.read_bytes() == content and len(said) == 1


def test_again_finds_the_same_anew(cache: Path, click_track: Path):
    first = tracks.prepare(click_track)
    (stored,) = cache.iterdir()
    content = stored.read_bytes()
    stored.unlink()
    assert tracks.prepare(click_track, again=True) == first
    assert stored.read_bytes() == content


def test_another_content_is_another_track_and_another_name_is_not(cache: Path, click_track: Path):
    first = tracks.prepare(click_track)
    copy = click_track.with_name("copy.wav")
    copy.write_bytes(click_track.read_bytes())
    assert tracks.prepare(copy) == replace(first, name="copy.wav")
    assert len(list(cache.iterdir())) == 1
    _file(click_track, signals.noise(1.0, db=-20.0))
    assert tracks.prepare(click_track).content_hash != first.content_hash
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut short"),
        pytest.param(lambda content: b"\xff\xfe" + content, id="no text"),
        pytest.param(lambda content: content.replace(b'"beats_s":[', b'"beats_s":["one",'), id="wrong type"),
        pytest.param(lambda content: content.replace(b'"beats_s":[', b'"beats_s":[5.5,'), id="out of order"),
        pytest.param(lambda content: content.replace(b'"first_downbeat":', b'"first_downbeat":9'), id="no such beat"),
        pytest.param(lambda content: content.replace(b'"content_hash":"', b'"content_hash":"0'), id="of another"),
        pytest.param(lambda content: content.replace(b'"version":1', b'"version":0'), id="of another version"),
    ],
)
def test_a_broken_cache_is_mended(cache: Path, click_track: Path, broken, caplog: pytest.LogCaptureFixture):
    first = tracks.prepare(click_track)
    (stored,) = cache.iterdir()
    content = stored.read_bytes()
    stored.write_bytes(broken(content))
    assert stored.read_bytes() != content
    assert tracks.prepare(click_track) == first
    assert stored.read_bytes() == content
    assert "finding it again" in caplog.text


def test_a_cache_that_cannot_be_written_costs_only_time(
    click_track: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "full").write_text("a file, and no folder")
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path / "full"))
    assert tracks.prepare(click_track).bpm > 0
    assert "could not be kept" in caplog.text


def test_two_may_write_at_once(cache: Path):
    known = _by_hand(content_hash="ab")
    at = cache / "ab.json"

    def write() -> None:
        for _ in range(50):
            tracks._store(at, known)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    tracks._store(at, known)
    for _ in range(50):
        assert tracks._fetch(at, "ab") == known
    for writer in writers:
        writer.join()
    assert [file.name for file in cache.iterdir()] == ["ab.json"]


def test_what_is_known_needs_no_librosa():
    code = "import sys, performer.audio.prepared; print([m for m in ('librosa', 'scipy', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is refused.


def test_refusals_name_the_file_and_the_remedy(cache: Path, tmp_path: Path, click_track: Path, monkeypatch):
    text = tmp_path / "notes.txt"
    text.write_text("no sound " * 100)
    for path, words in [
        (tmp_path / "none.wav", "does not exist"),
        (tmp_path, "is a folder"),
        (text, "choose another file|is not audio"),
    ]:
        with pytest.raises(SourceError, match=words) as refused:
            tracks.prepare(path)
        assert path.name in str(refused.value)
    monkeypatch.setattr(tracks, "LONGEST_S", 5.0)
    with pytest.raises(SourceError, match=r"lasts .* h; expected .* h at most.*cut it"):
        tracks.prepare(click_track)
    assert not cache.exists()
