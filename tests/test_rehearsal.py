"""Rehearsal: the same latents bit for bit, cues at the same times at any rate, and a sheet that shows them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console

from performer import setlist as setlists
from performer.audio.source import decode
from performer.refusal import Refused
from performer.rehearsal import LABEL_PX, TILE_PX, Recording, RehearsalOptions, order_of, played, rehearse

GROOVE = Path(__file__).parent / "data" / "groove_rock_105.ogg"
SHOW = """
schema = 1
name = "Rehearsed"
species = "embryo"
shaders = []
[audio]
source = "silence"
[params]
cue.quantize = 4
[[route]]
name = "kick"
from = "mix.kick"
to = "latent.coarse"
[[cue]]
id = "1"
[[cue]]
id = "2"
name = "two"
pre_wait = 0.4
fade = "2 beats"
duration = "7 beats"
next = "follow"
[[cue]]
id = "3"
quantize = "none"
fade = 0.5
duration = 2.13
next = "goto 5"
[[cue]]
id = "4"
[[cue]]
id = "5"
fade = 0
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "show.toml"
    file.write_text(SHOW)
    return file


@pytest.fixture(scope="module")
def sound():
    return decode(str(GROOVE))


def moments(path, sound, *, fps=30.0, hold_s=1.5, loops=True):
    show = setlists.load(path)
    return list(played(show, Recording(show, sound, loops=loops), fps=fps, hold_s=hold_s, most_s=60.0))


def test_two_rehearsals_are_equal_bit_for_bit(path, sound):
    first, second = (moments(path, sound) for _ in range(2))
    assert len(first) == len(second) > 200
    for one, other in zip(first, second, strict=True):
        assert (one.latent.ws == other.latent.ws).all() and (one.params.values == other.params.values).all()
    coarse = first[0].memory.routes[0][0].target
    assert np.ptp([one.params.values[setlists.load(path).table.row(coarse)] for one in first]) > 0.1, (
        "no kick was heard"
    )


def test_cues_come_at_the_same_times_at_any_frame_rate(path, sound):
    orders = {fps: order_of(iter(moments(path, sound, fps=fps))) for fps in (24.0, 30.0, 60.0)}
    assert [entry.index for entry in orders[60.0]] == [0, 1, 2, 4]
    for fps, entries in orders.items():
        assert [entry.index for entry in entries] == [entry.index for entry in orders[60.0]]
        assert [entry.began_s for entry in entries] == pytest.approx(
            [entry.began_s for entry in orders[60.0]], abs=1.0 / fps
        )


def test_a_hand_is_pressed_where_one_is_waited_for_and_the_score_does_the_rest(path):
    entries = order_of(iter(moments(path, None)))  # silence, 120 beats a minute
    assert [entry.index for entry in entries] == [0, 1, 2, 4]
    first, second, third, last = entries
    assert second.began_s == pytest.approx(2.0)  # GO after 1.5 s, 0.4 s wait, then the next bar
    assert second.settled_s - second.began_s == pytest.approx(1.0, abs=0.04)
    assert third.began_s == pytest.approx(2.0 + 3.5)
    assert last.began_s == pytest.approx(2.0 + 3.5 + 2.13)
    assert last.ended_s - last.began_s == pytest.approx(1.5, abs=0.04)
    assert first.settled_s == 0.0


def test_a_show_that_begins_again_is_rehearsed_once(path):
    path.write_text(SHOW.replace('next = "goto 5"', 'next = "loop"'))
    assert [entry.index for entry in order_of(iter(moments(path, None)))] == [0, 1, 2]


def test_a_recording_that_loops_is_heard_again(path, sound):
    show = setlists.load(path)
    recording, turn_s = Recording(show, sound, loops=True), len(sound.samples) / sound.rate_hz
    first, hits = recording.at(turn_s / 2, since_s=turn_s / 2 - 0.5)
    again, same = recording.at(1.5 * turn_s, since_s=1.5 * turn_s - 0.5)
    assert hits and [hit.kind for hit in hits] == [hit.kind for hit in same]
    assert (first.values == again.values).all()
    once = Recording(show, sound, loops=False)
    assert once.at(turn_s + 30.0, since_s=turn_s + 29.0)[1] == []


def test_a_rehearsal_is_printed_and_pictured(path):
    console, said = Console(width=100, record=True, file=io.StringIO()), []
    options = RehearsalOptions(setlist="show.toml", hold_s=0.5, fps=10.0)
    rehearse(options, console=console, announce=said.append)
    text = console.export_text()
    assert "two" in text and "0:01.0" not in text
    assert any("never came: 4" in line for line in said)
    sheet = np.asarray(Pillow.open("show-rehearsal.png"))
    height = 4 * (TILE_PX[1] + 3)
    assert sheet.shape[0] == height
    tiles = sheet[:, LABEL_PX:]
    # The first cue has no fade, the last is a cut; all else shows an animal on its ground.
    brightness = tiles.reshape(4, TILE_PX[1] + 3, 6, TILE_PX[0] + 3, 3).max(axis=(1, 3, 4))
    is_drawn = np.ones((4, 6), bool)
    is_drawn[[0, 3], :3] = False
    assert ((brightness > 60) == is_drawn).all()


def test_what_cannot_be_rehearsed_is_refused_first(path):
    for options, sentence in (
        (RehearsalOptions(setlist="nobody"), "no such setlist"),
        (RehearsalOptions(setlist="show.toml", file=Path("gone.wav")), "gone.wav"),
        (RehearsalOptions(setlist="show.toml", sheet=Path("gone/sheet.png")), "there is no folder gone"),
    ):
        with pytest.raises(Refused, match=sentence):
            rehearse(options, console=Console(), announce=print)


TRIGGERED = """
schema = 1
name = "Triggered"
species = "embryo"
shaders = []
[audio]
source = "file"
file = "{file}"
[params]
cue.quantize = 4
[[cue]]
id = "1"
trigger = [{{position = "0:06.5"}}]
fade = 0
[[cue]]
id = "2"
trigger = [{{position = 1.0}}, {{position = 5.25}}]
fade = 0
[[cue]]
id = "3"
trigger = [{{position = 3.9}}]
quantize = "none"
fade = 0
[[cue]]
id = "4"
trigger = [{{at = "00:00:01"}}]
fade = 0
"""


def test_positions_of_the_file_begin_cues_at_any_rate(path, sound):
    """While cues wait for the music, nobody presses GO."""
    path.write_text(TRIGGERED.format(file=GROOVE))
    found = {}
    for fps in (24.0, 30.0, 60.0):
        entries = order_of(iter(moments(path, sound, fps=fps)))
        found[fps] = [(entry.index, entry.began_s) for entry in entries]
    expected = [(0, 0.0), (1, 1.0), (2, 3.9), (1, 5.25), (0, 6.5)]
    assert list(found.values()) == [expected] * 3


def test_it_begins_where_the_show_begins_in_its_own_file(path, sound):
    text = TRIGGERED.format(file=GROOVE).replace('source = "file"', 'source = "file"\noffset = 2.0')
    path.write_text(text)
    show, length_s = setlists.load(path), len(sound.samples) / sound.rate_hz
    found = {}
    for loops in (False, True):
        recording = Recording(show, sound, loops=loops, offset_s=2.0)
        assert recording.length_s == pytest.approx(length_s if loops else length_s - 2.0)
        entries = order_of(played(show, recording, fps=30.0, hold_s=60.0, most_s=recording.length_s - 0.05))
        found[loops] = [(entry.index, entry.began_s) for entry in entries]
    once = [(0, 0.0), (2, pytest.approx(1.9)), (1, pytest.approx(3.25)), (0, pytest.approx(4.5))]
    assert found == {False: once, True: [*once, (1, pytest.approx(length_s - 1.0))]}
    console = Console(file=io.StringIO(), width=100)
    rehearse(RehearsalOptions(setlist=str(path), sheet=Path("-")), console=console, announce=lambda text: None)
    assert isinstance(console.file, io.StringIO) and "0:01.9 " in console.file.getvalue()


def test_the_first_hit_after_a_silence_begins_a_cue(path, sound):
    rate = sound.rate_hz
    quiet = np.zeros((5 * rate, sound.samples.shape[1]), np.float32)
    heard = sound._replace(samples=np.concatenate([sound.samples[: 2 * rate], quiet, sound.samples]))
    path.write_text(TRIGGERED.format(file=GROOVE).replace("{position = 1.0}, {position = 5.25}", "{silence = 3}"))
    found = []
    for fps in (24.0, 60.0):
        entries = order_of(iter(moments(path, heard, fps=fps, loops=False)))
        found.append([(entry.index, entry.began_s) for entry in entries if entry.index == 1])
    (first,), (second,) = found
    assert first[1] == pytest.approx(7.0, abs=0.1) and first[1] == pytest.approx(second[1], abs=0.05)


def test_hits_and_positions_go_on_when_the_sound_begins_again(path, sound):
    """What is heard in the second round is what was heard in the first, a round later."""
    show = setlists.load(path)
    recording, length_s = Recording(show, sound, loops=True), len(sound.samples) / sound.rate_hz
    rounds = [[], []]
    before_s = -1.0
    for frame in range(int(2 * length_s * 37)):
        at_s = frame / 37
        heard, hits = recording.at(at_s, since_s=before_s)
        assert heard.music is not None and heard.music.length_s == pytest.approx(length_s)
        for hit in hits:
            rounds[int(hit.at_s >= length_s)].append((hit.kind, hit.voice, hit.at_s % length_s))
        before_s = at_s
    first, second = rounds
    assert len(first) > 20 and len(second) >= len(first) - 10  # the end of the second is not told yet
    assert [each[:2] for each in first[: len(second)]] == [each[:2] for each in second]
    assert [each[2] for each in first[: len(second)]] == pytest.approx([each[2] for each in second])
