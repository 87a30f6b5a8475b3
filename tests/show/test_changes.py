"""From one species to another in a whole show, by real GOs: never black, never an old picture, and never a wait."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pythonosc.udp_client import SimpleUDPClient

from performer import cast as casting
from performer.generators import checkpoint as species
from performer.generators.embryo import checkpoint_of as made_of
from performer.generators.embryo import tensors as tensors_of
from performer.play import PlayOptions, prepare
from performer.show import Show
from tests.control.test_hands import Peer
from tests.show.conftest import play_until
from tests.show.program import free_port

HEAD = """
schema = 1
name = "Changes"
species = "s0"
[audio]
source = "silence"
[params]
frame.breath = 0
feedback.amount = 0
grade.grain = 0
"""
CUE = """
[[cue]]
id = "{id}"
species = "{species}"
transition = "{kind}"
fade = {fade}
"""
KINDS = ("auto", "crossfade", "dip", "cut", "shader moult", "shader ink")


@pytest.fixture
def shows(tmp_path: Path) -> Iterator:
    """Makes shows of three species, with a cue for each kind of transition."""
    made: list[Show] = []
    for number, seed in enumerate((3, 4, 5)):
        species.write(tmp_path / f"s{number}.safetensors", made_of(tensors_of(seed=seed)))
    cues = [
        CUE.format(id=at, species=f"s{at % 3}", kind=kind, fade=0 if kind == "cut" else 0.6)
        for at, kind in enumerate(KINDS)
    ]
    (tmp_path / "show.toml").write_text(HEAD + "".join(cues))

    def make(**changes) -> Show:
        options = PlayOptions(
            setlist=str(tmp_path / "show.toml"), headless=True, size_px=(320, 180), fps=30.0, osc_port=free_port(),
            osc_host="127.0.0.1", engine="openvino", **changes,
        )  # fmt: skip
        made.append(prepare(options, announce=lambda text: None))
        return made[-1]

    yield make
    for show in made:
        show.close()


def brightness(show: Show) -> float:
    return float(show.stage.read_pixels()[..., :3].mean())


def test_every_transition_ends_with_the_other_species_and_none_is_black_on_its_way(shows):
    show = shows()
    play_until(show, lambda: show.has_light)
    client = SimpleUDPClient("127.0.0.1", show.hands.port)
    for _ in range(10):
        show.frame()
    for at, kind in list(enumerate(KINDS))[1:]:
        before, levels, drawn = show.stage.read_pixels().astype(int), [], []
        client.send_message("/perf/cue/go", [])
        play_until(show, lambda at=at: show.cue == at)
        end_s = time.monotonic() + 1.2
        while time.monotonic() < end_s:
            show.frame()
            levels.append(brightness(show))
            drawn.append(show.stage.read_pixels()[..., :3].astype(int))
        assert show.host.checkpoint.path.stem == f"s{at % 3}", kind
        assert np.abs(drawn[-1] - before[..., :3]).mean() > 1, kind
        if kind == "dip":
            assert min(levels) < 0.2 * levels[-1]
        else:
            assert min(levels) > 0.4 * min(levels[0], levels[-1]), kind
        assert not show.stage.warnings


def test_a_go_to_a_species_that_is_not_ready_waits_says_so_and_what_plays_goes_on(shows, tmp_path, monkeypatch):
    one = (tmp_path / "s0.safetensors").stat().st_size
    role_mb = (casting.ROLE_BYTES + casting.WEIGHT_COPIES * one) / 1e6
    show = shows(memory_mb=1.2 * role_mb)
    load = casting.Cast._make_ready
    is_open: list[bool] = []

    def held(self, number):
        while not is_open and not self._is_closing:
            time.sleep(0.005)
        load(self, number)

    monkeypatch.setattr(casting.Cast, "_make_ready", held)
    play_until(show, lambda: show.has_light)
    peer = Peer(show.hands)
    peer.send("/perf/sys/subscribe")
    for _ in range(5):
        show.frame()
    peer.heard(until=lambda got: "1\n2\n4\n5" in got.get("/perf/cue/absent", ()))
    peer.send("/perf/cue/go")
    play_until(show, lambda: show._memory.place.waiting is not None)
    images = show.images
    for _ in range(30):
        show.frame()
    assert show.cue == 0 and show._memory.place.waiting.is_late and show.images > images + 10
    assert show._hud_state().cue_next == "1  not ready"
    is_open.append(True)
    play_until(show, lambda: show.cue == 1)
    play_until(show, lambda: show.host.checkpoint.path.stem == "s1" and show.has_light)
    peer.socket.close()
