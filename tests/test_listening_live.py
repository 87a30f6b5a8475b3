"""`performer listen` without a file: the screen, what is remembered for it, the clicks, and all of it on a null sink."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from performer.audio.analyser import Analyser, Tuning
from performer.audio.ears import EarsStatus
from performer.audio.features import TABLE, column
from performer.audio.source import BandSpec, VoiceSpec, restart_portaudio
from performer.cli import Listen
from performer.flow import AudioBlock, AudioEvent, AudioEventKind, AudioFeatures, frozen_array
from performer.listening import clicks as clicking
from performer.listening.live import LiveOptions, listen_live
from performer.listening.screen import (
    ASCII,
    UNICODE,
    BandView,
    HitView,
    Screen,
    View,
    VoiceView,
    bar,
    lamp,
    lines,
    note,
    told,
)
from performer.listening.tally import Tally
from performer.refusal import Refused
from tests.rig import pulse, signals

RATE_HZ = 44100
STATUS = EarsStatus(
    state="hearing",
    detail="hearing default (ALSA) at 44100 Hz",
    device="default (ALSA)",
    sample_rate=44100.0,
    restarts=0,
    dropped_events=0,
    overruns=0,
    overflows=2,
    clipped=0,
    callback_age_s=0.01,
    latency_s=0.0093,
    peaks=(0.25,),
    voices=("mix",),
)
VOICE = VoiceView(
    name="mix",
    knobs="+6 dB",
    peak_db=-12.0,
    held_db=-9.5,
    most_db=-3.2,
    clips=False,
    lufs=-23.4,
    bands=tuple(BandView(name, 0.5, -30.0) for name in ("all", "bass", "mid", "midhigh", "high")),
    hits=(HitView("onset", 1.0, 240), HitView("kick", 0.5, 96), HitView("snare", 0.0, 0), HitView("hat", 0.0, 1200)),
    pitch_hz=442.0,
    pitch_confidence=0.83,
    centroid_hz=2340.0,
    is_silent=False,
    gate="open",
)
VIEW = View(voices=(VOICE,), bpm=128.0, beat=17.25, downbeat=3, confidence=0.92, status=STATUS)


def screen(view: View, *, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """What a terminal of this size shows, without colours."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width, height=height, record=True, no_color=True, legacy_windows=False)
    console.print(Screen(view), end="")
    return console.export_text(styles=False).splitlines()


# The screen.


def test_everything_that_an_engineer_needs_is_on_it() -> None:
    shown = "\n".join(screen(VIEW))
    for text in (
        "-9.5 dBFS", "-23.4 LUFS", "-30.0 dB", "240/min", "1200/min", "A4", "+8 ct", "0.83", "2340 Hz", "sounding",
        "-3.2 dBFS so far", "gate open", "+6 dB", "128.0 bpm", "0.92", "latency 9.3 ms", "overruns 0", "overflows 2",
        "restarts 0", "hearing default (ALSA) at 44100 Hz",
    ):  # fmt: skip
        assert text in shown


@pytest.mark.parametrize("voices", [1, 2, 3, 5, 9, 30])
@pytest.mark.parametrize("size", [(80, 24), (60, 20), (132, 50), (40, 10)])
def test_it_fits_any_terminal(voices: int, size: tuple[int, int]) -> None:
    width, height = size
    view = replace(VIEW, voices=tuple(replace(VOICE, name=f"voice{n}", clips=True) for n in range(voices)))
    shown = screen(view, width=width, height=height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert shown[-1].startswith("hearing default"), "the foot is there whatever is left out"


def test_two_voices_are_shown_in_full_at_80_by_24() -> None:
    view = replace(VIEW, voices=(VOICE, replace(VOICE, name="keys", clips=True)))
    shown = screen(view)
    assert sum("loudness" in line for line in shown) == 2
    assert sum("onset" in line for line in shown) == 2
    assert sum("CLIP" in line for line in shown) == 2, "a light two lines high, of the one voice"


def test_more_voices_get_two_lines_each() -> None:
    shown = screen(replace(VIEW, voices=(replace(VOICE, gate="shut"),) * 6))
    assert sum("-9.5 dBFS" in line for line in shown) == 6
    assert sum("gate SHUT" in line and "A4" in line for line in shown) == 6


def test_a_setlists_own_bands_have_lines_too() -> None:
    shown = screen(replace(VIEW, voices=(replace(VOICE, bands=(*VOICE.bands, BandView("snap", 1.0, -9.0))),)))
    assert any(line.startswith("snap") and "-9.0 dB" in line for line in shown)


def test_no_letter_beyond_ascii_where_a_terminal_knows_none() -> None:
    shown = "\n".join(screen(replace(VIEW, voices=(replace(VOICE, clips=True), VOICE)), encoding="ascii"))
    assert shown.isascii()
    assert "####" in shown and "CLIP" in shown


def test_lost_silence_learning_and_a_shut_gate_are_said_in_words() -> None:
    status = replace(STATUS, state="lost", detail="default (ALSA) has sent nothing for 1.2 s", is_learning=True)
    voice = replace(VOICE, is_silent=True, gate="shut", pitch_confidence=0.1)
    shown = "\n".join(screen(replace(VIEW, voices=(voice,), status=status, bpm=0.0)))
    for text in ("lost: default (ALSA) has sent nothing", "SILENCE", "LEARNING", "gate SHUT", "none", "no beat"):
        assert text in shown
    assert "A4" not in shown


def test_the_lamp_walks_through_the_bar_and_begins_at_the_downbeat() -> None:
    def lit(beat: float) -> str:
        row = next(line for line in screen(replace(VIEW, beat=beat)) if line.startswith("beat"))
        return re.findall(r"[█▓▒░]+.([1-4]).[█▓▒░]+", row)[0]

    assert [lit(beat) for beat in (19.0, 20.2, 21.9, 22.5, 23.0)] == ["1", "2", "3", "4", "1"]
    assert VIEW.place == (2, 0.25)


def test_meters_grow_with_their_level_and_stay_in_their_box() -> None:
    for parts in (UNICODE.parts, UNICODE.low, ASCII.parts):
        filled = [bar(share, 20, parts) for share in (-1.0, 0.0, 0.01, 0.4, 0.5, 1.0, 7.0)]
        assert {len(each) for each in filled} == {20}
        assert filled[0].strip() == "" and filled[-1] == parts[-1] * 20
        assert [len(each.strip()) for each in filled] == sorted(len(each.strip()) for each in filled)
    assert lamp(0.0, UNICODE) == "·" and lamp(1.0, UNICODE) == "█" and lamp(0.01, UNICODE) == "░"


def test_the_scale_stands_over_the_bar() -> None:
    rows = lines(
        replace(VIEW, voices=(replace(VOICE, peak_db=-6.0, held_db=-100.0),)), width=80, height=24, glyphs=UNICODE
    )
    labels, peak = rows[0].plain, next(row.plain for row in rows if row.plain.startswith("peak"))
    assert abs(labels.index(" -6 ") + 2 - peak.rindex("█")) <= 2


@pytest.mark.parametrize(
    ("pitch_hz", "named"),
    [(440.0, ("A4", 0)), (261.63, ("C4", 0)), (55.0, ("A1", 0)), (448.0, ("A4", 31)), (466.16, ("Bb4", 0))],
)
def test_notes(pitch_hz: float, named: tuple[str, int]) -> None:
    assert note(pitch_hz) == named


def test_a_plain_line_tells_the_same() -> None:
    line = told(replace(VIEW, voices=(replace(VOICE, clips=True, gate="shut"),)), counts=[[4, 2, 0, 1]])
    assert "\n" not in line
    for text in (
        "mix -9.5 dBFS -23.4 LUFS",
        "CLIP",
        "gate shut",
        "bass 0.50",
        "onset 4 kick 2 snare 0 hat 1",
        "A4 +8 ct",
    ):
        assert text in line
    assert line.endswith("128.0 bpm, 0.92 sure; overflows 2")
    assert told(replace(VIEW, status=replace(STATUS, state="lost", detail="gone")), counts=[[0] * 4]) == "lost: gone"


# What is remembered.


def looks(*peaks_db: float, voices: int = 1, centre_s: float = 1.0) -> AudioFeatures:
    values = np.zeros((voices, len(TABLE)), np.float32)
    values[:, column("peak")] = peaks_db
    return AudioFeatures(frozen_array(values), centre_s)


def tally(*voices: str, **tuning) -> Tally:
    return Tally(voices=[VoiceSpec(name) for name in voices or ("mix",)], bands=(), tuning=Tuning(**tuning))


def test_the_highest_peak_is_held_for_two_seconds() -> None:
    made = tally()
    for at_s, peak_db in ((1.0, -20.0), (1.1, -6.0), (1.2, -30.0), (2.0, -12.0), (3.0, -40.0)):
        made.look(looks(peak_db), (), clipped=0, at_s=at_s)
        voice = made.view(STATUS, at_s=at_s).voices[0]
    assert (voice.held_db, voice.most_db) == (-6.0, -6.0)
    made.look(looks(-40.0), (), clipped=0, at_s=3.2)
    voice = made.view(STATUS, at_s=3.2).voices[0]
    assert (voice.held_db, voice.most_db) == (-12.0, -6.0)


def test_the_clip_light_knows_the_converter_and_no_gain() -> None:
    made = tally(gain_db=(20.0,))
    made.look(looks(3.0), (), clipped=0, at_s=1.0)
    assert not made.view(STATUS, at_s=1.0).voices[0].clips, "17 dB are left at the converter"
    made.look(looks(20.0), (), clipped=0, at_s=2.0)
    assert made.view(STATUS, at_s=3.9).voices[0].clips
    assert not made.view(STATUS, at_s=4.1).voices[0].clips


def test_a_clip_that_the_driver_counted_lights_the_fullest_voice() -> None:
    made = tally("soft", "loud")
    made.look(looks(-30.0, -7.0, voices=2), (), clipped=1, at_s=1.0)
    assert [voice.clips for voice in made.view(STATUS, at_s=1.1).voices] == [False, True]
    made.look(looks(-30.0, -7.0, voices=2), (), clipped=1, at_s=4.0)
    assert [voice.clips for voice in made.view(STATUS, at_s=4.1).voices] == [False, False]


def test_hits_light_up_fade_and_are_counted() -> None:
    made = tally("drums", "keys")
    kick = AudioEvent(0, AudioEventKind.KICK, 0.99, 1.0)
    made.look(looks(-9.0, -9.0, voices=2), (), clipped=0, at_s=1.0)
    for at_s in np.arange(11.0, 21.0, 0.5):
        made.look(looks(-9.0, -9.0, voices=2), (kick,), clipped=0, at_s=float(at_s))
    lights = [made.view(STATUS, at_s=20.5 + after_s).voices[0].hits[1].light for after_s in (0.0, 0.1, 0.3, 0.5)]
    assert lights[0] == 1.0 and lights[-1] == 0.0 and lights == sorted(lights, reverse=True)
    assert made.view(STATUS, at_s=21.0).voices[0].hits[1].per_minute == 60
    assert made.view(STATUS, at_s=75.0).voices[0].hits[1].per_minute == 12, "those of the last minute"
    assert made.taken_counts() == [[0, 20, 0, 0], [0] * 4]
    assert made.taken_counts() == [[0] * 4] * 2


def test_a_gate_is_open_or_shut_and_a_voice_without_one_has_none() -> None:
    voices = [VoiceSpec("gated"), VoiceSpec("free")]
    tuning = Tuning(gate_db=(-40.0, -np.inf))
    bands = (BandSpec("snap", 1800.0, 2600.0),)
    made = Tally(voices=voices, bands=bands, tuning=tuning)
    analyser = Analyser(rate_hz=RATE_HZ, channels=1, voices=voices, bands=bands, tuning=tuning)
    for db, gate in ((-20.0, "open"), (-60.0, "shut")):
        sound = signals.sine(440.0, 1.0, db=db)[:, None]
        features, _ = analyser.step(AudioBlock(sound, analyser._next_sample, 1.0 + analyser._next_sample / RATE_HZ))[-1]
        made.look(features, (), clipped=0, at_s=features.centre_s)
        seen = made.view(STATUS, at_s=features.centre_s).voices
        assert [voice.gate for voice in seen] == [gate, ""]
    assert seen[0].knobs == "gate -40 dB"
    assert seen[0].bands[-1].name == "snap"


# Clicks.


def test_clicks_are_paired_with_the_first_onset_that_can_be_theirs() -> None:
    played = [1.0, 2.0, 3.0]
    heard = [(0.2, 0.21), (1.02, 1.03), (1.1, 1.11), (3.03, 3.05), (3.7, 3.71)]
    found = clicking.paired("mix", played, heard)
    np.testing.assert_allclose(found.loop_s, (0.02, 0.03))
    np.testing.assert_allclose(found.known_s, (0.01, 0.02))
    assert (found.heard, found.missed, found.besides) == (2, 1, 1), "an echo is another onset; what lies outside is not"
    assert clicking.paired("mix", [], []).missed == 0


def test_clicks_are_far_enough_apart_to_be_told_apart() -> None:
    sound, firsts = clicking.clicks(20, rate_hz=RATE_HZ)
    gaps_s = np.diff(firsts) / RATE_HZ
    assert gaps_s.min() >= clicking.EVERY_S - clicking.STRAY_S and len(set(gaps_s.tolist())) > 15
    assert abs(20 * np.log10(np.abs(sound).max()) - clicking.CLICK_DB) < 0.01
    assert np.all(sound[firsts] != 0) and sound[firsts[0] - 1] == 0


def test_what_is_told_of_clicks_says_what_to_write() -> None:
    voices = (
        clicking.VoiceClicks("mix", (0.02, 0.02, 0.03), (0.01,) * 3, 1, 2),
        clicking.VoiceClicks("far", (), (), 4, 0),
    )
    text = "\n".join(clicking.Clicks("speaker", "hearing it", 4, voices).told())
    for part in (
        "3 heard, 1 missed; 2 other",
        "median 20.0 ms, p95 29.0 ms",
        "voice.mix.delay = 0.020",
        "out.latency is the display's",
    ):
        assert part in text
    assert "voice.far.delay" not in text
    assert "is the loudspeaker on" in "\n".join(clicking.Clicks("speaker", "hearing it", 4, voices[1:]).told())


# The command line.


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"out": Path("x.png")}, "--out: belongs to a track"),
        ({"again": True}, "--again: belongs to a track"),
        ({"end": 3.0}, "--to: belongs to a track"),
        ({"file": Path("x.ogg"), "device": "Scarlett"}, "--device: belongs to a device, and x.ogg is a file"),
        ({"file": Path("x.ogg"), "clicks": ()}, "--clicks: belongs to a device"),
        ({"clicks": (0,)}, "--clicks 0: expected 1 to 1000"),
        ({"clicks": (1, 2)}, "--clicks 1 2: expected one number"),
        ({"clicks": (), "once": True}, "leave --once and --seconds out"),
        ({"seconds": 0.0}, "--seconds 0: expected 0.1 or more seconds"),
        ({"setlist": "nowhere"}, "nowhere: no such setlist"),
        ({"setlist": "metamorphosis", "clicks": ()}, "which no click can reach; name an input with --device"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        Listen(**given).run()


# On a sound card made of software.


@pytest.fixture
def server():
    if why := pulse.why_not():
        pytest.skip(why)
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
    with pulse.PulseServer() as made:
        restart_portaudio()  # a test before may have started it without this server
        yield made


def listened(**options) -> list[str]:
    """Lines that listening printed."""
    out = io.StringIO()
    assert listen_live(LiveOptions(**options), announce=lambda _: None, console=Console(file=out, width=80))
    return out.getvalue().splitlines()


def test_a_device_that_is_not_there_is_refused(server) -> None:
    with pytest.raises(Refused, match=r"'Nobody' is not an input device here; there are: .*default"):
        listened(device="Nobody", once=True)


def test_a_summary_of_a_tone_with_clicks(server) -> None:
    sound = signals.sine(440.0, 9.0, db=-18.0)
    ticks, _ = signals.clicks(30, db=-6.0)
    sound[RATE_HZ : RATE_HZ + len(ticks)][: len(sound) - RATE_HZ] += ticks[: len(sound) - RATE_HZ]
    server.play(sound, RATE_HZ)
    text = "\n".join(listened(once=True, seconds=4.0))
    assert "hearing default (ALSA) at 44100 Hz" in text
    assert -6.5 < float(re.findall(r"peak (\S+) dBFS", text)[0]) < -3.0
    assert abs(float(re.findall(r"loudness (\S+) LUFS", text)[0]) + 21) < 3
    assert "pitch mostly A4" in text
    assert int(re.findall(r"hits onset (\d+)", text)[0]) >= 6
    assert "overruns 0" in text


def test_a_setlists_voices_bands_and_knobs_are_used(server, tmp_path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        'schema = 1\nname = "two"\nspecies = "embryo"\n[voices]\nleft = [1]\nright = [2]\n[bands]\nsnap = [1800, 2600]\n'
        '[params]\nvoice.left.gain = 12.0\nvoice.right.gate = -20.0\n[[cue]]\nid = "1"\n'
    )
    tone = signals.sine(2200.0, 8.0, db=-30.0)
    server.play(np.stack([tone, tone], axis=1), RATE_HZ)
    last = listened(setlist=str(path), seconds=4.5)[-1]
    left, right = last.split("; ")[:2]
    assert abs(float(left.split()[1]) + 18.0) < 1.0, "12 dB of gain"
    assert "snap" in left and "gate shut" in right and "gate" not in left


class Paper(io.StringIO):
    """What is printed on; once it is torn, whoever prints is interrupted, as by Ctrl-C."""

    is_torn = False

    def write(self, text: str) -> int:
        if self.is_torn:
            raise KeyboardInterrupt
        return super().write(text)


def test_a_device_that_goes_is_said_to_be_lost_and_comes_back(server) -> None:
    out = Paper()
    thread = threading.Thread(
        target=listen_live,
        args=(LiveOptions(seconds=30.0),),
        kwargs={"announce": lambda _: None, "console": Console(file=out, width=80)},
    )
    thread.start()

    def last() -> str:
        return (out.getvalue().splitlines() or [""])[-1]

    def wait_for(part: str, timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and part not in last():
            time.sleep(0.05)
        return part in last()

    assert wait_for("dBFS", 8.0)
    server.pull_out()
    assert wait_for("lost: ", 5.0)
    server.plug_in()
    assert wait_for("dBFS", 8.0), out.getvalue()
    out.is_torn = True
    thread.join(6.0)
    assert not thread.is_alive()


def test_clicks_are_heard_and_measured(server) -> None:
    lines_ = listened(clicks=6)
    text = "\n".join(lines_)
    assert "6 heard, 0 missed" in text
    loop_ms = float(re.findall(r"loop   median (\S+) ms", text)[0])
    known_ms = float(re.findall(r"known  median (\S+) ms", text)[0])
    assert -20 < loop_ms < 120 and 0 < known_ms < 60
    delay_s = float(re.findall(r"voice\.mix\.delay = (\S+),", text)[0])
    assert abs(1e3 * delay_s - loop_ms) < 0.6


def test_clicks_that_nobody_hears_are_said_to_be_missed(server) -> None:
    server.pactl("set-source-mute", "stage.monitor", "1")
    out = io.StringIO()
    console = Console(file=out, width=80)
    assert not listen_live(LiveOptions(clicks=2), announce=lambda _: None, console=console)
    assert "0 heard, 2 missed" in out.getvalue() and "is the loudspeaker on" in out.getvalue()


def test_on_a_terminal_the_picture_is_live_and_ctrl_c_ends_it_quietly(server) -> None:
    server.play(signals.sine(440.0, 12.0, db=-18.0), RATE_HZ)
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "performer", "listen"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()

    def swallow() -> None:
        try:
            while part := os.read(ours, 65536):
                shown.extend(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=swallow)
    reader.start()
    end_s = time.monotonic() + 15.0
    while time.monotonic() < end_s and b"A4" not in shown:
        time.sleep(0.1)
    drawn = shown.count(b"latency")
    time.sleep(1.0)
    drawn = shown.count(b"latency") - drawn
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes of the group
    assert process.wait(5.0) == 0
    reader.join()
    os.close(ours)
    assert process.stderr is not None and process.stderr.read() == b""
    assert b"A4" in shown and b"LUFS" in shown
    assert drawn >= 8, "twenty a second on a machine that has time"
