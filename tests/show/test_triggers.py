"""Cues that are triggered, in a whole show: the wall clock is followed, datagrams and the sound's file begin cues."""

import shutil
import time
from pathlib import Path

import pytest
from pythonosc.udp_client import SimpleUDPClient

from performer.play import PlayOptions, prepare
from tests.show.conftest import SETLIST, play_until
from tests.show.program import free_port

GROOVE = Path(__file__).parents[1] / "data" / "groove_rock_105.ogg"
MORE = """
[[cue]]
id = "noon"
fade = 0
trigger = [{at = "12:00"}]
[[cue]]
id = "intro"
fade = 0
armed = false
trigger = [{osc = "/intro"}]
[[cue]]
id = "later"
fade = 0
armed = false
trigger = [{position = 7.0}]
"""


@pytest.fixture
def show(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    shutil.copy(GROOVE, tmp_path / "groove.ogg")
    path = tmp_path / "test.toml"
    path.write_text(SETLIST.replace('source = "tone"', 'source = "file"\nfile = "groove.ogg"') + MORE)
    options = PlayOptions(
        setlist=str(path), headless=True, size_px=(160, 90), osc_host="127.0.0.1", osc_port=free_port()
    )
    made = prepare(options, announce=lambda text: None)
    yield made
    made.close()
    monkeypatch.undo()
    time.tzset()


def plays(show, cue_id):
    return show.plan.cues[show.cue].id == cue_id


def test_a_show_is_triggered(show):
    noon_s, off_s = 1780308000.0, 100.0  # 2026-06-01 12:00 in Berlin
    show._wall_s = lambda: noon_s - off_s + show.clock.now_s()
    for _ in range(3):
        show.frame()
    assert plays(show, "1")
    off_s = 0.5 + show.clock.now_s()
    # Set by a minute and a half: far enough that nothing is made up for, and then a second too early.
    play_until(show, lambda: plays(show, "noon"))
    began_s = show._memory.place.began.at_s
    assert began_s == pytest.approx(off_s, abs=0.05)

    hands = SimpleUDPClient("127.0.0.1", show.hands.port)
    hands.send_message("/intro", 1)
    hands.send_message("/intro", 0)
    hands.send_message("/perf/macro/1", 1.0)
    play_until(show, lambda: show.params.knobs[show.table.row("macro.1")] == 1.0)
    assert plays(show, "noon")  # it is not armed
    hands.send_message("/perf/cue/arm", "intro")
    play_until(show, lambda: show.plan.score.disarmed(show._memory.place) == (4,))
    hands.send_message("/intro", 1)
    play_until(show, lambda: plays(show, "intro"))

    hands.send_message("/perf/cue/arm", "later")
    play_until(show, lambda: plays(show, "later"))
    music = show.ears.latest().music
    assert music is not None
    assert (show._memory.place.began.at_s - music.begun_s) % 8.0 == pytest.approx(7.0, abs=0.05)
