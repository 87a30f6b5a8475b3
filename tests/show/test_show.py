"""The frame from inside: hands, ears that die, tempo, and two runs that are one."""

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from pythonosc.udp_client import SimpleUDPClient

from performer import setlist as setlists
from performer.audio.analyser import analyse
from performer.audio.ears import Ears
from performer.audio.features import column
from performer.audio.source import decode
from performer.cast import Cast
from performer.clock import SteppedClock
from performer.control.hands import Hands
from performer.flow import AudioFeatures, Image, LatentFrame, Tick
from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
from performer.notices import Notices
from performer.params import Controls
from performer.play import PlayOptions, prepare
from performer.role import Role
from performer.show import Show
from performer.stage import compositor
from performer.stage.outputs.headless import Headless
from performer.training import fresh
from tests.conftest import small_stylegan2
from tests.generators.latents import sibling_of
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


def test_a_cue_that_waits_is_said_and_begins_at_the_bar(show, osc):
    osc.send_message("/perf/cue/quantize", 4)
    play_until(show, lambda: show.params.knobs[show.table.row("cue.quantize")] == 4)
    osc.send_message("/perf/cue/go", [])
    play_until(show, lambda: show._memory.place.waiting is not None)
    show._hud_due_s = 0.0
    assert re.fullmatch(r"2  in \d beats", show._hud_state().cue_next)
    play_until(show, lambda: show.cue == 1)
    into_bar = (show._memory.current.started_beat - show._transport.downbeat + 2.0) % 4.0 - 2.0
    assert abs(into_bar) < 0.5  # half a frame, of a machine that is busy with the tests; test_plan has the exact bound


def test_a_route_is_added_by_a_message_and_moves_the_light(show, osc):
    osc.send_message("/perf/sys/route/add", ["macro.1", "out.dimmer", "mode", "replace", "invert", 1])
    play_until(show, lambda: any(route.name == "new1" for route in show._memory.routes[0]))
    osc.send_message("/perf/macro/1", 1.0)
    play_until(show, lambda: show.stage.read_pixels()[..., :3].max() == 0)
    osc.send_message("/perf/mute/new1", 1)
    play_until(show, lambda: show.stage.read_pixels()[..., :3].max() > 20)
    assert show.params.meters[show.plan.route_names.index("new1")].tolist() == [1.0, 0.0]


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


def test_the_ear_leads_the_tempo_until_a_hand_takes_it(show, osc, monkeypatch):
    bpm, ear = show.table.row("transport.bpm"), show.table.row("transport.ear")
    real = show.ears.latest

    def sure() -> AudioFeatures:
        heard = real()
        return replace(heard, bpm=128.0, beat=heard.centre_s * 128.0 / 60.0, confidence=0.9)

    monkeypatch.setattr(show.ears, "latest", sure)
    play_until(show, lambda: show.params.values[bpm] == 128.0)
    play_until(show, lambda: abs(off_beat(show, 128.0)) < 0.02)
    osc.send_message("/perf/transport/bpm", 90.0)
    play_until(show, lambda: show.params.values[ear] == 0.0 and show.params.values[bpm] == 90.0)
    until_s = show.clock.now_s() + 0.5
    play_until(show, lambda: show.clock.now_s() > until_s)
    assert show.params.values[bpm] == 90.0
    assert show._transport.bpm == 90.0
    osc.send_message("/perf/transport/ear", 1)
    play_until(show, lambda: show.params.values[bpm] == 128.0)


def off_beat(show: Show, bpm: float) -> float:
    """Beats between the show's line and music whose beat zero is show time zero."""
    now_s = show.clock.now_s()
    return (show._transport.line.at(now_s) - now_s * bpm / 60.0 + 0.5) % 1.0 - 0.5


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

    def broken(*_, **__):
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


CHAIN = PAIR.replace('"second"', '["second", "third"]', 1).replace("= 1", "= 0.5").replace("schema = 0.5", "schema = 1")
CHAIN += """[[cue]]
id = "third"
fade = 0.6
params = { blend.coarse = 1, blend.middle = 1, blend.fine = 1 }
"""


def partners(tmp_path, *chain: Checkpoint, text: str = PAIR) -> PlayOptions:
    """A show of species that stand still, each in its cue."""
    for name, checkpoint in zip(("first", "second", "third"), chain, strict=False):
        species.write(tmp_path / f"{name}.safetensors", checkpoint)
    (tmp_path / "pair.toml").write_text(text)
    path = str(tmp_path / "pair.toml")
    # One engine for all that is compared: which is faster is measured, and on a busy machine not always the same.
    return PlayOptions(
        setlist=path, headless=True, size_px=(160, 90), osc_host="127.0.0.1", osc_port=free_port(), engine="eager"
    )


def seconds_of(show: Show, seconds: float) -> list[np.ndarray]:
    """The pictures of the next frames."""
    end_s, pictures = show.clock.now_s() + seconds, []
    while show.clock.now_s() < end_s:
        show.frame()
        pictures.append(show.stage.read_pixels()[..., :3].astype(int))
    return pictures


def alone(options: PlayOptions, tmp_path, *, name: str = "second") -> tuple[np.ndarray, np.ndarray]:
    """The cue of a species with that species alone: (the engine's picture, the screen)."""
    lines = (tmp_path / "pair.toml").read_text().replace('species = "first"', f'species = "{name}"').splitlines()
    (tmp_path / "alone.toml").write_text("\n".join(line for line in lines if not line.startswith("partner")))
    show = prepare(replace(options, setlist=str(tmp_path / "alone.toml"), cue=name), announce=lambda text: None)
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
        assert len(show.cast.roles) == (1 if kind == "siblings" else 2)
        before = seconds_of(show, 1.0)
        SimpleUDPClient("127.0.0.1", show.hands.port).send_message("/perf/cue/go", [])
        show.frame_intervals_s = []
        way = seconds_of(show, 1.6)
        drawn = show.host.latest().pixels.copy()
    finally:
        show.close()
    far = np.abs(way[-1] - before[-1]).mean()
    assert far > 2
    # A frame that comes late has the longer way to go, and its image may be of the frame before.
    took_s = [sum(show.frame_intervals_s[max(at - 1, 0) : at + 1]) for at in range(1, len(way))]
    parts = [np.abs(b - a).mean() / far for a, b in zip(way, way[1:], strict=False)]
    assert all(part < max(1 / 3, took / 0.2) for part, took in zip(parts, took_s, strict=True)), "a jump"
    assert np.median(took_s) < 0.1, "nothing would be a jump"
    expected, screen = alone(options, tmp_path)
    assert (drawn == expected).all()
    assert np.abs(way[-1] - screen).max() <= 1


def test_a_chain_of_three_plays_each_as_it_is_alone(tmp_path):
    first = fresh.species("light", size_px=64, seed=2, width=0.5)
    first = replace(first, provenance=replace_struct(first.provenance, name="larva"))
    chain = [first]
    for seed, name in enumerate(("pupa", "imago")):
        moved = sibling_of(first, seed=seed)
        chain.append(replace(moved, provenance=replace_struct(first.provenance, name=name)))
    # An engine by name, since the fastest need not be the same twice.
    options, said, stood = replace(partners(tmp_path, *chain, text=CHAIN), engine="openvino"), [], {}
    show = prepare(options, announce=said.append)
    try:
        assert "partner  larva becomes pupa, then imago: siblings, crossbred layer by layer" in said
        assert len(show.cast.roles) == 1
        seconds_of(show, 1.0)
        for name in ("second", "third"):
            SimpleUDPClient("127.0.0.1", show.hands.port).send_message("/perf/cue/go", [])
            way = seconds_of(show, 1.6)
            stood[name] = show.host.latest().pixels.copy(), way[-1]
    finally:
        show.close()
    assert np.abs(stood["second"][0].astype(int) - stood["third"][0]).mean() > 2
    for name, (drawn, seen) in stood.items():
        expected, screen = alone(options, tmp_path, name=name)
        assert (drawn == expected).all(), np.abs(drawn.astype(int) - expected).max()
        assert np.abs(seen - screen).max() <= 1


# --- a machine that is short of time ---------------------------------------------------------------------------------

PLAIN = """
schema = 1
name = "Plain"
species = "embryo"
[audio]
source = "tone"
[params]
frame.breath = 0
feedback.amount = 0
grade.contrast = 0
grade.saturation = 1
grade.vignette = 0
grade.grain = 0
[[cue]]
id = "only"
"""


class Painter:
    """A host on a stepped clock. Its pictures are as bright as they are late: one from long ago is seen to be that."""

    def __init__(self, name: str, clock: SteppedClock, *, side_px: int, infer_s: Callable[[], float]) -> None:
        self.name, self.images, self.infer_ms, self.is_closed, self.may_use_card = name, 0, 0.0, False, False
        self._clock, self._side_px, self._infer_s = clock, side_px, infer_s
        self._image: Image | None = None
        self._waiting_s: float | None = None
        self._drawing_s: tuple[float, float, float] | None = None  # submitted, ready, and how long it takes

    def submit(self, latent: LatentFrame) -> None:
        self._go_on()
        self._waiting_s = self._clock.now_s()
        self._go_on()

    def latest(self) -> Image | None:
        self._go_on()
        return self._image

    def activate(self, *, progress) -> None:
        self.measured_ms = None

    def close(self) -> None:
        self.is_closed = True

    def _go_on(self) -> None:
        free_s = 0.0
        while True:
            if self._drawing_s is not None and self._drawing_s[1] <= self._clock.now_s():
                submitted_s, free_s, took_s = self._drawing_s
                self.images, self.infer_ms, self._drawing_s = self.images + 1, 1e3 * took_s, None
                pixels = np.full((self._side_px, self._side_px, 4), 255, np.uint8)
                pixels[..., :3] = round(40 + submitted_s)
                self._image = Image(pixels, self.images, submitted_s, free_s)
            elif self._drawing_s is None and self._waiting_s is not None:
                took_s, begun_s = self._infer_s(), max(self._waiting_s, free_s)
                self._drawing_s, self._waiting_s = (self._waiting_s, begun_s + took_s, took_s), None
            else:
                return


class Monitor(Headless):
    """A display on a stepped clock, whose swap waits for it where it paces."""

    def __init__(self, clock: SteppedClock, *, refresh_hz: float | None) -> None:
        super().__init__(size_px=(64, 36))
        self.refresh_hz, self._clock = refresh_hz, clock

    def present(self) -> None:
        if self.refresh_hz is not None:
            self._clock.sleep_until((int(self._clock.now_s() * self.refresh_hz + 1e-6) + 1) / self.refresh_hz)


Strained = Callable[..., tuple[Show, SimpleNamespace]]


@pytest.fixture
def strained(tmp_path, monkeypatch) -> Iterator[Strained]:
    """Makes (a show on a stepped clock with a smaller twin of its engine, what drawing and inference cost)."""
    (tmp_path / "plain.toml").write_text(PLAIN)
    shows = []

    def make(*, refresh_hz: float | None = 60.0, fps: float | None = None) -> tuple[Show, SimpleNamespace]:
        setlist, clock = setlists.load(tmp_path / "plain.toml"), SteppedClock()
        costs = SimpleNamespace(draw_s=lambda detail: 0.004, full_s=0.008, small_s=0.003)
        cast = Cast(setlist, clock=clock, notices=Notices(), choice="auto")
        painters = [
            Painter("painter", clock, side_px=side_px, infer_s=infer_s)
            for side_px, infer_s in ((32, lambda: costs.full_s), (16, lambda: costs.small_s))
        ]
        cast.roles[0] = Role(painters[0], small=painters[1])
        cast.make(fps=60.0, progress=lambda text: None)
        show = Show(
            setlist,
            display=Monitor(clock, refresh_hz=refresh_hz),
            cast=cast,
            ears=Ears(source=setlist.audio, voices=setlist.voices, epoch_s=0.0),
            hands=Hands(table=setlist.table, port=0, epoch_s=0.0),
            clock=clock,
            notices=Notices(),
            fps=fps,
        )
        shows.append(show)
        monkeypatch.setattr(compositor, "time", SimpleNamespace(perf_counter=clock.now_s))
        draw = show.stage._draw

        def draw_slowly(*args, **how) -> None:
            clock.sleep_until(clock.now_s() + costs.draw_s(show.stage.detail))
            draw(*args, **how)

        monkeypatch.setattr(show.stage, "_draw", draw_slowly)
        return show, costs

    yield make
    for show in shows:
        show.close()
        assert all(host.is_closed for host in show.cast.hosts)


def test_a_machine_that_is_short_of_time_plays_on_humbler_and_comes_back(strained):
    show, costs = strained()
    submitted_s, serials, levels, said = [], {}, [], Counter()
    draw = show.stage.show

    def watched(image, *args, **how):
        submitted_s.append(image.submitted_s if image is not None else -1.0)
        if image is not None:
            assert serials.setdefault(image.serial, image.submitted_s) == image.submitted_s, "one passes for another"
        return draw(image, *args, **how)

    show.stage.show = watched

    def play(seconds: float) -> tuple[float, bool, int]:
        """Detail, smaller picture and generator's frames after so many seconds."""
        end_s = show.clock.now_s() + seconds
        while show.clock.now_s() < end_s:
            show.frame()
            levels.append(int(show.stage.read_pixels()[18, 32, 0]))
        said.update(notice.text for notice in show.notices.recent(at_s=show.clock.now_s(), within_s=seconds))
        return show._tier.detail, show._tier.small, show._tier.every

    assert play(10) == (1.0, False, 1) and show.missed == 0 and not said
    costs.full_s = 0.020
    assert play(8) == (1.0, True, 1), "its picture comes too late for every frame"
    costs.small_s = 0.019
    assert play(8) == (1.0, True, 2), "and that of its smaller twin as well"
    assert show.missed == 0 and show._hud_state().engine == "painter, half size"
    assert show._hud_state().generator_eased == "every 2nd"
    costs.draw_s = lambda detail: 0.004 + 0.016 * detail**2
    assert play(9) == (0.75, True, 2) and show.missed > 100
    assert show.stage.internal_px == (48, 28) and show._hud_state().effects_eased == "effects 75%"
    assert len(said) == 3, said
    hosts = show.cast.hosts
    full, small = (host.images for host in hosts)
    play(4)
    assert hosts[0].images == full and hosts[1].images == pytest.approx(small + 4 * 30, abs=3)
    missed = show.missed
    costs.full_s, costs.small_s, costs.draw_s = 0.008, 0.003, lambda detail: 0.004
    assert play(90) == (1.0, False, 1) and len(said) == 6
    assert show.missed == missed and show.stage.internal_px == (64, 36)
    assert show._hud_state().engine == "painter, 8.0 ms" and not show._hud_state().generator_eased
    assert show.fps == 60

    first = next(frame for frame, at_s in enumerate(submitted_s) if at_s >= 0)
    assert min(levels[first:]) >= 40, "never black"
    assert min(np.diff(submitted_s)) >= 0 and min(np.diff(levels[first:])) >= 0, "and never back to an old picture"


def test_a_twin_that_does_not_draw_is_waited_for(strained):
    show, costs = strained()
    costs.full_s, costs.small_s = 0.020, 1e9
    while not show._tier.small:
        show.frame()
    show.frame()
    held = show.stage.read_pixels()
    for _ in range(120):
        show.frame()
    assert (show.stage.read_pixels() == held).all() and held[..., :3].min() > 40


def test_the_engine_that_is_seen_is_named(strained):
    show, _ = strained()
    number = show.cast.add(show.cast.creatures[0])
    show.cast.roles[number] = Role(Painter("stranger", show.clock, side_px=32, infer_s=lambda: 0.005))
    step = show.plan.step

    def partly(*args, **how):
        memory, params, latent = step(*args, **how)
        return memory, params, replace(latent, part=0.8, partner=replace(latent, creature=number))

    show.frame()
    assert show._hud_state().engine.startswith("painter")
    show.plan.step = partly  # type: ignore[method-assign]
    for _ in range(30):
        show.frame()
    assert show._hud_state().engine == "stranger, 5.0 ms"
    assert show._hud_state().spent_ms["engine"] == 5.0


@pytest.mark.parametrize(
    ("refresh_hz", "fps", "expected"), [(None, None, 30), (None, 40.0, 40), (60.0, None, 60), (60.0, 50.0, 50)]
)
def test_only_a_rate_that_nobody_set_is_given_up(strained, refresh_hz, fps, expected):
    show, costs = strained(refresh_hz=refresh_hz, fps=fps)
    costs.draw_s = lambda detail: 0.045
    while show.clock.now_s() < 40:
        show.frame()
    assert show.fps == expected and show._tier.detail == 0.5
    assert show._tier.fps == pytest.approx(1 / show._pace.slot_s)  # which are whole refreshes of a display
    assert show.missed > 400, "which are counted on a display that paces too"
    (down, *_) = [notice.text for notice in show.notices.recent(at_s=40, within_s=40)]
    assert ("a second" in down) == (expected == 30)
