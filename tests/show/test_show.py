"""The frame from inside: hands, ears that die, tempo, and two runs that are one."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from pythonosc.udp_client import SimpleUDPClient

from performer import setlist as setlists
from performer.audio.features import analyse, column
from performer.audio.source import decode
from performer.flow import Tick
from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
from performer.params import Controls
from performer.play import PlayOptions, prepare
from performer.show import Show
from tests.conftest import small_stylegan2
from tests.show.conftest import play_until
from tests.show.program import free_port


@pytest.fixture
def osc(show):
    """A control surface beside the show, which has shown its first picture."""
    play_until(show, lambda: show.host.latest() is not None)
    return SimpleUDPClient("127.0.0.1", show.hands.port)


def test_hands_reach_the_light(show, osc):
    for _ in range(5):
        show.frame()
    assert show.stage.read_pixels()[..., :3].max() > 20
    osc.send_message("/perf/out/blackout", 1)
    play_until(show, lambda: show.stage.read_pixels()[..., :3].max() == 0)
    osc.send_message("/perf/out/blackout", 0)
    play_until(show, lambda: show.stage.read_pixels()[..., :3].max() > 20)
    osc.send_message("/perf/out/freeze", 1)
    play_until(show, lambda: show.params.values[show.table.row("out.freeze")] == 1)
    show.frame()
    held = show.stage.read_pixels()
    for _ in range(5):
        show.frame()
    assert (show.stage.read_pixels() == held).all()


def test_go_and_panic(show, osc):
    osc.send_message("/perf/cue/go", [])
    play_until(show, lambda: show.cue == 1)
    osc.send_message("/perf/cue/prev", [])
    play_until(show, lambda: show.cue == 0)
    osc.send_message("/perf/cue/goto", "2")
    play_until(show, lambda: show.cue == 1)


def test_taps_set_the_tempo_that_everything_reads(show, osc):
    row = show.table.row("transport.bpm")
    assert show.params.values[row] == 120
    for _ in range(3):
        osc.send_message("/perf/transport/tap", [])
        until_s = show.clock.now_s() + 0.4  # taps are as far apart as the network and this machine make them
        play_until(show, lambda until_s=until_s: show.clock.now_s() >= until_s)
    play_until(show, lambda: show.params.values[row] != 120)
    assert 120 < show.params.values[row] < 200
    assert show._transport.bpm == pytest.approx(float(show.params.values[row]), abs=0.01)


def test_the_show_goes_on_while_the_ears_are_killed(show):
    level = column("all.level")
    play_until(show, lambda: show.ears.status().state == "hearing" and show.ears.latest().values[0, level] > 0.2)
    pid, killed_s = show.ears.child_pid, show.clock.now_s()
    os.kill(pid, signal.SIGKILL)
    frames = show.meter.frames
    play_until(show, lambda: show.ears.latest().centre_s > killed_s + 0.1)
    assert show.meter.frames > frames
    assert show.ears.child_pid not in (None, pid)
    said = [notice.text for notice in show.notices.recent(at_s=show.clock.now_s())]
    assert any("exit code -9" in text for text in said), said


def test_a_failing_step_holds_the_creature_and_is_announced_once(show, monkeypatch):
    play_until(show, lambda: show.host.latest() is not None)

    def broken(*_):
        raise ArithmeticError("a motion divided by zero")

    monkeypatch.setattr(show.plan, "step", broken)
    frames = show.meter.frames
    for _ in range(5):
        show.frame()
    assert show.meter.frames == frames + 5
    (notice,) = [n for n in show.notices.recent(at_s=show.clock.now_s()) if "divided by zero" in n.text]
    assert notice.count == 5 and notice.severe


def test_two_runs_of_one_recorded_sound_are_equal_bit_for_bit(setlist):
    sound = decode("tests/data/groove_rock_105.ogg")
    runs = []
    for _ in range(2):
        show = setlists.load(setlists.locate("first-light"))
        heard = analyse(sound.samples, sound.rate_hz)
        plan, controls = show.plan(), Controls.none(show.table)
        memory, latents, at = plan.enter(0, at_s=0.0, beat=0.0), [], 0
        for frame in range(240):
            photon_s = frame / 40
            due = [event for event in heard.events[at:] if event.at_s <= photon_s]
            at += len(due)
            tick = Tick(frame, photon_s, 1 / 40, photon_s * 2, photon_s)
            memory, params, latent = plan.step(memory, heard.at(photon_s), due, controls, tick)
            latents.append(np.concatenate([latent.ws.ravel(), latent.noise.ravel(), params.values]))
        assert at > 10, "no hits were heard"
        runs.append(np.array(latents))
    assert (runs[0] == runs[1]).all()
    assert np.abs(np.diff(runs[0], axis=0)).max() > 0.05, "nothing moved"


PAIR = """
schema = 1
name = "Pair"
species = "first"
partner = "second"
shaders = []
[audio]
source = "tone"
[params]
walk.speed = 0
breathe.depth = 0
frame.breath = 0
[[cue]]
id = "first"
[[cue]]
id = "second"
fade = 0.6
params = { blend.coarse = 1, blend.middle = 1, blend.fine = 1 }
"""


def partners(tmp_path, first: Checkpoint, second: Checkpoint) -> PlayOptions:
    """A show of two species that stand still in two cues; the second is all the partner's."""
    for name, checkpoint in (("first", first), ("second", second)):
        species.write(tmp_path / f"{name}.safetensors", checkpoint)
    (tmp_path / "pair.toml").write_text(PAIR)
    path = str(tmp_path / "pair.toml")
    return PlayOptions(setlist=path, headless=True, size_px=(160, 90), osc_host="127.0.0.1", osc_port=free_port())


def seconds_of(show: Show, seconds: float) -> list[np.ndarray]:
    """The pictures of the next frames."""
    end_s, pictures = show.clock.now_s() + seconds, []
    while show.clock.now_s() < end_s:
        show.frame()
        pictures.append(show.stage.read_pixels()[..., :3].astype(int))
    return pictures


def alone(options: PlayOptions, tmp_path) -> tuple[np.ndarray, np.ndarray]:
    """The second cue with the second species alone: (the engine's picture, the screen)."""
    text = PAIR.replace('species = "first"\npartner', "species")
    (tmp_path / "alone.toml").write_text(text)
    show = prepare(replace(options, setlist=str(tmp_path / "alone.toml"), cue="second"), announce=lambda text: None)
    try:
        screen = seconds_of(show, 1.0)[-1]
        return show.host.latest().pixels.copy(), screen
    finally:
        show.close()


@pytest.mark.parametrize("kind", ["siblings", "strangers"])
def test_one_species_becomes_another_without_a_jump_and_is_then_all_the_other(kind, tmp_path, embryo):
    second = made_of(tensors_of(seed=24)) if kind == "siblings" else small_stylegan2(resolution=64)
    options, said = partners(tmp_path, embryo, second), []
    show = prepare(options, announce=said.append)
    try:
        (line,) = [text for text in said if text.startswith("partner")]
        expected = {"siblings": "a sibling, crossbred layer by layer", "strangers": "light and stylegan2 are different"}
        assert expected[kind] in line
        assert (show.over is None) == (kind == "siblings")
        before = seconds_of(show, 1.0)
        SimpleUDPClient("127.0.0.1", show.hands.port).send_message("/perf/cue/go", [])
        way = seconds_of(show, 1.6)
        drawn = (show.over or show.host).latest().pixels.copy()
    finally:
        show.close()
    far = np.abs(way[-1] - before[-1]).mean()
    assert far > 2
    steps = [np.abs(b - a).mean() for a, b in zip(way, way[1:], strict=False)]
    assert max(steps) < far / 3, "a jump"
    expected, screen = alone(options, tmp_path)
    assert (drawn == expected).all()
    assert np.abs(way[-1] - screen).max() <= 1
