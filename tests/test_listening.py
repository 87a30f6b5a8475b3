"""`performer listen`: the agreement of the two ears, the picture, the table, and the setlist of cues."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from rich.console import Console

from performer import setlist
from performer.audio import prepared as tracks
from performer.audio.agreement import Agreement, Live, match
from performer.audio.analyser import Analysis
from performer.audio.features import TABLE
from performer.audio.form import Drop, Section
from performer.audio.prepared import Prepared
from performer.audio.source import Sound
from performer.flow import AudioEvent, AudioEventKind
from performer.listening import picture
from performer.listening import track as listening
from performer.listening.track import ListenOptions
from performer.refusal import Refused
from tests.rig import signals

RATE_HZ = 22050
HOPS_HZ = 172.0
DATA = Path(__file__).parent / "data"
TIMES_S = st.lists(st.integers(0, 400), max_size=25).map(lambda ms: np.array(sorted(ms), np.float64) / 100)


def known(**changes) -> Prepared:
    """30 s at 120 a minute, three parts, a drop at 20 s."""
    made = Prepared(
        name="song.wav",
        content_hash="",
        duration_s=30.0,
        rate_hz=RATE_HZ,
        bpm=120.0,
        even=True,
        beats_s=tuple((0.5 * np.arange(60)).tolist()),
        beats_per_bar=4,
        first_downbeat=0,
        onsets_s=tuple((0.25 * np.arange(120)).tolist()),
        sections=(
            Section(0.0, 12.0, "A", -20.0, 0.9),
            Section(12.0, 20.0, "B", -30.0, 0.2),
            Section(20.0, 30.0, "A", -18.0, 1.0),
        ),
        drops=(Drop(20.0, 0.8),),
    )
    return replace(made, **changes)


def heard(*, bpm: float = 120.0, length_s: float = 30.0, late_s: float = 0.0, from_s: float = 0.0) -> Analysis:
    """What a live ear would say that hears all onsets `late_s` late, and a beat of `bpm` from `from_s` on."""
    centre_s = np.arange(round(length_s * HOPS_HZ)) / HOPS_HZ
    kinds = (AudioEventKind.ONSET, AudioEventKind.KICK, AudioEventKind.HAT)
    events = [
        AudioEvent(0, kind, float(at_s) + late_s, 0.6)
        for at_s in np.arange(0.25, length_s - 1.0, 0.25)
        for kind in kinds
    ]
    events.append(AudioEvent(1, AudioEventKind.ONSET, 3.1, 1.0))  # of another voice
    return Analysis(
        values=np.full((len(centre_s), 1, len(TABLE)), 0.5, np.float32),
        centre_s=centre_s,
        events=tuple(events),
        heard_s=np.array([event.at_s + 0.01 for event in events]),
        bpm=np.where(centre_s >= from_s, bpm, 0.0),
        beat=(centre_s - late_s) * bpm / 60.0 + 100.0,
        confidence=np.clip(centre_s / 5.0, 0.0, 0.9),
        downbeat=np.full(len(centre_s), 2, np.int64),
    )


# Agreement.


def test_a_beat_is_where_the_phase_crosses_a_whole_number():
    live = Live.of(heard(late_s=0.0123))
    assert live.beats_s == pytest.approx(0.0123 + 0.5 * np.arange(60), abs=1e-6)
    assert np.flatnonzero(live.is_downbeat)[:3].tolist() == [2, 6, 10]  # beats 102, 106 …
    assert live.hits["onset"].at_s[0] == pytest.approx(0.2623)
    assert len(live.hits["kick"].at_s) == len(live.hits["onset"].at_s) and not len(live.hits["snare"].at_s)
    assert 3.1 not in live.hits["onset"].at_s


def test_beats_count_from_where_there_is_a_tempo():
    assert Live.of(heard(from_s=4.0)).beats_s[0] == pytest.approx(4.0, abs=0.51)
    assert not len(Live.of(heard(bpm=0.0)).beats_s)


@settings(deadline=None)
@given(found_s=TIMES_S, true_s=TIMES_S)
def test_as_many_pairs_as_can_be(found_s, true_s):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    made = match(found_s, true_s, window_s=0.055)
    near = np.abs(found_s[:, None] - true_s) <= 0.055
    most = int((maximum_bipartite_matching(csr_array(near)) >= 0).sum()) if near.size else 0
    assert len(made.off_s) == most == made.found.sum() == made.true.sum()
    assert np.abs(made.off_s).max(initial=0.0) <= 0.055
    assert made.f == pytest.approx(2 * most / (len(found_s) + len(true_s)) if len(found_s) + len(true_s) else 1.0)


def test_what_agrees_is_told_with_its_delay():
    agreed = Agreement.of(Live.of(heard(late_s=0.012, from_s=4.2)), known())
    assert agreed.onsets.precision == 1.0 and agreed.onsets.off_ms == pytest.approx(12.0)
    assert agreed.beats.precision == 1.0 and agreed.beats.recall == pytest.approx(51 / 60, abs=0.02)
    assert agreed.locked_s == pytest.approx(4.512, abs=0.01)
    assert (agreed.bpm, agreed.level, agreed.between) == (120.0, "", False)


@pytest.mark.parametrize(
    ("bpm", "late_s", "level", "between"),
    [(240.0, 0.0, "twice", False), (60.0, 0.0, "half", False), (120.0, 0.25, "", True)],
)
def test_another_level_of_the_pulse_is_named_and_is_no_lock(bpm: float, late_s: float, level: str, between: bool):
    agreed = Agreement.of(Live.of(heard(bpm=bpm, late_s=late_s)), known())
    assert (agreed.level, agreed.between, agreed.locked_s) == (level, between, None)


def test_nothing_and_nothing_agree():
    silent = Agreement.of(
        Live.of(replace(heard(bpm=0.0), events=())), known(beats_s=(), onsets_s=(), bpm=0.0, drops=())
    )
    assert (silent.onsets.f, silent.beats.f, silent.onsets.off_ms, silent.locked_s) == (1.0, 1.0, 0.0, None)


# The picture.


def _drawn(prepared: Prepared, analysis: Analysis, **window) -> np.ndarray:
    sound = Sound(signals.noise(prepared.duration_s, db=-20.0, rate_hz=1000)[:, None], 1000)
    live = Live.of(analysis)
    agreement = Agreement.of(live, prepared)
    subject = picture.Subject(
        sound=sound, prepared=prepared, analysis=analysis, live=live, agreement=agreement, **window
    )
    return picture.draw(subject)


def _count(drawn: np.ndarray, colour: picture.Colour) -> int:
    return int((np.abs(drawn.astype(int) - colour).max(axis=2) < 12).sum())


def test_the_picture_marks_what_has_no_twin():
    good, bad = _drawn(known(), heard()), _drawn(known(), heard(bpm=97.0, late_s=0.12))
    assert good.shape == bad.shape and good.shape[1] == picture.WIDTH_PX and good.dtype == np.uint8
    assert _count(bad, picture.WRONG) > 10 * _count(good, picture.WRONG)
    assert _count(good, picture.DROP) > _count(_drawn(known(drops=()), heard()), picture.DROP) + 100
    assert (good == _drawn(known(), heard())).all()


def test_long_tracks_have_more_rows_and_then_longer_ones():
    def height(length_s: float, **window) -> int:
        prepared = known(duration_s=length_s, sections=(Section(0.0, length_s, "A", -20.0, 1.0),))
        return _drawn(prepared, heard(length_s=min(length_s, 100.0)), **window).shape[0]

    row = picture.ROW_PX + picture.ROW_GAP_PX
    assert height(61.0) - height(60.0) == row
    assert height(7200.0) - height(60.0) == (picture.MOST_ROWS - 1) * row
    assert height(600.0, begin_s=120.0, end_s=150.0) == height(60.0)


@pytest.mark.parametrize("length_s", [1e-3, 0.5, 5.0])
def test_a_short_track_without_anything_is_drawn(length_s: float):
    nothing = known(
        duration_s=length_s,
        bpm=0.0,
        beats_s=(),
        onsets_s=(),
        drops=(),
        sections=(Section(0.0, length_s, "A", -80.0, 0.0),),
    )
    assert _drawn(nothing, heard(bpm=0.0, length_s=length_s)).any()


def test_clocks_are_rounded_as_a_whole():
    assert [picture.clock(at_s) for at_s in (0.0, 59.4, 59.6, 3725.0)] == ["0:00", "0:59", "1:00", "62:05"]
    assert [picture.clock(at_s, tenths=True) for at_s in (5.04, 59.96)] == ["0:05.0", "1:00.0"]


# The verb.


@pytest.fixture
def song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose offline pass and live ear say what `known` and `heard` say."""
    monkeypatch.setattr(listening.tracks, "prepare", lambda path, **_: known(name=path.name))
    monkeypatch.setattr(listening, "analyse", lambda *_: heard(late_s=0.01))
    path = tmp_path / "song.wav"
    soundfile.write(path, signals.noise(30.0, db=-20.0, rate_hz=RATE_HZ), RATE_HZ)
    monkeypatch.chdir(tmp_path)
    return path


def _listened(*, console: Console | None = None, **options) -> tuple[Path, list[str]]:
    said: list[str] = []
    out = listening.listen(ListenOptions(**options), announce=said.append, console=console or Console(quiet=True))
    return out, said


def test_listen_prints_and_draws(song: Path):
    text = io.StringIO()
    out, said = _listened(file=song, console=Console(file=text, width=120))
    assert out == Path("song-listening.png") and f"picture  {out}" in said
    with Pillow.open(out) as image:
        assert image.size[0] == picture.WIDTH_PX and image.info["Software"] == picture.SOFTWARE
    printed = text.getvalue()
    for words in (
        "120.00 beats per minute, an even grid",
        "of 4 beats",
        "0:20.0 (0.8)",
        "median +10.0 ms",
        "held the beat",
    ):
        assert words in printed
    assert [line.split()[0] for line in printed.splitlines()[-3:]] == ["A", "B", "A"]


def test_our_picture_is_drawn_anew_and_no_other_file_is_touched(song: Path, tmp_path: Path):
    out, _ = _listened(file=song, out=tmp_path / "pictures")
    assert out == tmp_path / "pictures" / "song-listening.png"
    assert _listened(file=song, out=out)[0] == out
    for name, content in [("other.png", b"somebody's"), ("text", b"words")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refused, match=r"--out .*(expected a folder|is there already)"):
            _listened(file=song, out=tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


def test_what_cannot_be_heard_is_refused(tmp_path: Path, song: Path):
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    for options, words in [
        ({"file": tmp_path / "none.wav"}, "none.wav.* does not exist"),
        ({"file": text}, "notes.txt"),
        ({"file": song, "begin_s": 31.0}, "--from 31"),
        ({"file": song, "begin_s": 9.0, "end_s": 8.0}, "--from 9"),
        ({"file": song, "cues": tmp_path / "cues.txt"}, r"ends in \.toml"),
    ]:
        with pytest.raises(Refused, match=words):
            _listened(**options)
    assert not list(tmp_path.glob("*.png"))


# Cues.


def test_cues_load_and_are_as_long_as_the_sections(song: Path, tmp_path: Path):
    _, said = _listened(file=song, cues=tmp_path / "cues.toml")
    assert any(line.startswith("setlist") for line in said)
    show = setlist.load(tmp_path / "cues.toml")
    assert show.audio.kind == "file" and Path(show.audio.path) == song
    assert show.cues[0].values[show.table.row("transport.bpm")] == 120.0
    assert [(cue.id, cue.name, cue.next) for cue in show.cues] == [
        ("1", "A", "follow"),
        ("2", "B", "follow"),
        ("3", "A 2", "loop"),
    ]
    lengths = [cue.duration for cue in show.cues]
    assert [length.amount for length in lengths if length is not None and not length.in_beats] == [12.0, 8.0, 10.0]
    assert [cue.fade.amount for cue in show.cues] == [3.0, 2.0, listening.DROP_FADE_S]
    content = (tmp_path / "cues.toml").read_text()
    assert "60 beats" in content and "Drops: 0:20.0 (strength 0.8)" in content


def test_cues_name_the_file_wherever_they_lie(song: Path, tmp_path: Path):
    _listened(file=song, cues=tmp_path / "elsewhere" / "cues.toml")
    assert Path(setlist.load(tmp_path / "elsewhere" / "cues.toml").audio.path) == song.resolve()


@pytest.mark.parametrize("name", ['a "quoted" name.wav', "tab\tand \x7f.wav", "ümläut – 音.wav", "back\\slash.wav"])
def test_cues_of_any_file_name_load(song: Path, tmp_path: Path, name: str):
    odd = song.rename(tmp_path / name)
    _listened(file=odd, cues=tmp_path / "cues.toml")
    assert setlist.load(tmp_path / "cues.toml").audio.path == str(odd)


def test_cues_without_a_beat_load(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    silent = known(bpm=0.0, beats_s=(), first_downbeat=0, drops=())
    monkeypatch.setattr(listening.tracks, "prepare", lambda *_, **__: silent)
    _listened(file=song, cues=tmp_path / "cues.toml")
    show = setlist.load(tmp_path / "cues.toml")
    assert show.cues[0].values[show.table.row("transport.bpm")] == show.table["transport.bpm"].default


def test_no_setlist_is_overwritten(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = tmp_path / "mine.toml"
    mine.write_text("mine")
    monkeypatch.setattr(listening, "decode", lambda *_: pytest.fail("listened before refusing"))
    with pytest.raises(Refused, match="no setlist is overwritten; choose another name"):
        _listened(file=song, cues=mine)
    assert mine.read_text() == "mine"


# With the ears themselves.


def test_the_live_ear_agrees_with_hindsight_on_a_drummer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PERFORMER_CACHE", str(tmp_path))
    out, _ = _listened(file=DATA / "groove_rock_105.ogg", out=tmp_path / "groove.png", cues=tmp_path / "groove.toml")
    assert out.exists() and len(setlist.load(tmp_path / "groove.toml").cues) >= 1
    prepared = tracks.prepare(DATA / "groove_rock_105.ogg")
    sound = listening.decode(str(DATA / "groove_rock_105.ogg"))
    agreement = Agreement.of(Live.of(listening.analyse(sound.samples, sound.rate_hz)), prepared)
    assert agreement.onsets.f > 0.7 and abs(agreement.onsets.off_ms) < 10.0
