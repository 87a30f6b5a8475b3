"""What is heard, as shaders see it: the textures of audio inputs, and the bundled halo, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest

from performer import resources
from performer.flow import SHAPE_SAMPLES, AudioFeatures, frozen_array
from performer.stage.compositor import DEFAULT_EFFECTS, effect_params
from performer.stage.isf import read_isf
from performer.stage.sound import boxes_of
from tests.stage.conftest import Rig, flat

HALO = resources.SHADERS / "halo.fs"
PAPER = flat(240, 236, 220)
NIGHT = flat(8, 8, 14)

BARS = """/*{"INPUTS": [{"NAME": "inputImage", "TYPE": "image"}, {"NAME": "fft", "TYPE": "audioFFT"%s}]}*/
void main() {
  float level = IMG_NORM_PIXEL(fft, vec2(isf_FragNormCoord.x, 0.5)).g;
  gl_FragColor = vec4(vec3(step(isf_FragNormCoord.y, level)), 1.0);
}
"""
WAVE = """/*{"INPUTS": [{"NAME": "wave", "TYPE": "audio"}]}*/
void main() { gl_FragColor = vec4(IMG_NORM_PIXEL(wave, vec2(isf_FragNormCoord.x, 0.5)).rgb, 1.0); }
"""
VOICES = """/*{"INPUTS": [{"NAME": "fft", "TYPE": "audioFFT"}]}*/
void main() { gl_FragColor = vec4(IMG_NORM_PIXEL(fft, isf_FragNormCoord).rgb, 1.0); }
"""
SIZES = """/*{"INPUTS": [{"NAME": "fft", "TYPE": "audioFFT", "MAX": 64}, {"NAME": "wave", "TYPE": "audio", "MAX": 4096},
               {"NAME": "all", "TYPE": "audioFFT"}]}*/
void main() { gl_FragColor = vec4(IMG_SIZE(fft).x / 255.0, IMG_SIZE(wave).x / 1024.0, IMG_SIZE(all).y / 10.0, 1.0); }
"""


def heard(*, spectrum: np.ndarray | float = 0.0, waveform: np.ndarray | float = 0.0, voices: int = 1) -> AudioFeatures:
    shape = (voices, SHAPE_SAMPLES)
    return AudioFeatures(
        np.zeros((voices, 1), np.float32),
        0.0,
        spectrum=frozen_array(np.broadcast_to(np.asarray(spectrum, np.float32), shape).copy()),
        waveform=frozen_array(np.broadcast_to(np.asarray(waveform, np.float32), shape).copy()),
    )


@pytest.fixture
def rig_with(write_effect):
    """A function that makes a stage with this effect alone, or with these paths."""
    made: list[Rig] = []

    def make(*effects: str | Path, size_px: tuple[int, int] = (128, 72)) -> Rig:
        paths = [
            write_effect(each, f"probe{n}.fs") if isinstance(each, str) else each for n, each in enumerate(effects)
        ]
        made.append(Rig(effects=paths, size_px=size_px))
        assert made[-1].stage.warnings == ()
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_spectrum_becomes_bars(rig_with) -> None:
    rig = rig_with(BARS % "")
    ramp = np.linspace(0.0, 1.0, SHAPE_SAMPLES)
    seen = rig.show(flat(0, 0, 0), sound=heard(spectrum=ramp))
    heights = (seen[..., 0] > 128).sum(axis=0)
    assert np.abs(heights - 72 * (np.arange(128) + 0.5) / 128).max() <= 1, "bars stand on the floor, 0 Hz at the left"
    assert set(np.unique(seen)) == {0, 255}


def test_a_waveform_swings_about_the_middle_and_all_channels_hold_it(rig_with) -> None:
    rig = rig_with(WAVE)
    wave = np.sin(2 * np.pi * np.arange(SHAPE_SAMPLES) / SHAPE_SAMPLES)
    seen = rig.show(flat(0, 0, 0), sound=heard(waveform=wave))[36]
    expected = 127.5 + 127.5 * np.sin(2 * np.pi * (np.arange(128) + 0.5) / 128)
    assert np.abs(seen - expected[:, None]).max() <= 2


def test_a_soft_waveform_is_no_staircase(rig_with) -> None:
    rig = rig_with(WAVE.replace(".rgb", ".rgb * 64.0 - 31.5"))
    soft = 0.01 * np.linspace(-1.0, 1.0, SHAPE_SAMPLES)
    seen = rig.show(flat(0, 0, 0), sound=heard(waveform=soft))[36, :, 0]
    assert len(np.unique(seen)) > 20, "eight bits would give three steps"


def test_before_any_sound_there_is_silence(rig_with) -> None:
    assert np.abs(rig_with(WAVE).show(flat(0, 0, 0)) - 127.5).max() <= 1
    assert rig_with(BARS % "").show(flat(0, 0, 0))[:-1].max() == 0


def test_without_news_the_last_sound_stays(rig_with) -> None:
    rig = rig_with(VOICES)
    rig.show(flat(0, 0, 0), sound=heard(spectrum=0.8))
    assert np.abs(rig.show(flat(0, 0, 0)) - 204).max() <= 1


def test_two_voices_lie_in_two_rows_the_first_below(rig_with) -> None:
    rig = rig_with(VOICES)
    rig.show(flat(0, 0, 0), sound=heard(spectrum=0.5))
    seen = rig.show(flat(0, 0, 0), sound=heard(spectrum=np.array([[0.2], [0.8]]), voices=2))
    assert np.abs(seen[:17] - 204).max() <= 1, "the upper quarter"
    assert np.abs(seen[-17:] - 51).max() <= 1
    assert np.abs(rig.show(flat(0, 0, 0), sound=heard(spectrum=0.5)) - 127.5).max() <= 1, "and one again"


def test_max_limits_the_width_and_nothing_is_wider_than_what_there_is(rig_with) -> None:
    rig = rig_with(SIZES)
    seen = rig.show(flat(0, 0, 0), sound=heard(voices=3))[36, 64]
    assert np.abs(seen - np.array((64, 127.5, 76.5))).max() <= 1


@pytest.mark.parametrize("samples", [1, 2, 100, 256, 511])
def test_fewer_samples_are_means(samples: int) -> None:
    boxes = boxes_of(samples)
    assert boxes.shape == (SHAPE_SAMPLES, samples)
    np.testing.assert_allclose(boxes.sum(axis=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(boxes.sum(axis=1), samples / SHAPE_SAMPLES, atol=1e-4)
    ramp = np.arange(SHAPE_SAMPLES) + 0.5
    np.testing.assert_allclose(ramp @ boxes, (np.arange(samples) + 0.5) * SHAPE_SAMPLES / samples, atol=0.05)


def test_effects_share_what_is_alike_and_a_stage_that_hears_nothing_wants_nothing(rig_with, rig: Rig) -> None:
    assert not rig.stage.hears
    rig.show(flat(9, 9, 9), sound=heard(spectrum=1.0))
    two = rig_with(BARS % "", VOICES, BARS % ', "MAX": 64')
    assert two.stage.hears
    assert sorted(two.stage._sounds._rows) == [("audioFFT", 64), ("audioFFT", 512)]


def test_freeze_holds_the_sound_too(rig_with) -> None:
    rig = rig_with(VOICES)
    rig.show(flat(0, 0, 0), sound=heard(spectrum=0.4))
    rig.set(**{"out.freeze": 1.0})
    assert np.abs(rig.show(flat(0, 0, 0), sound=heard(spectrum=0.9)) - 102).max() <= 1
    rig.set(**{"out.dimmer": 0.5})
    assert np.abs(rig.show(flat(0, 0, 0), sound=heard(spectrum=0.9)) - 51).max() <= 1
    rig.set(**{"out.freeze": 0.0, "out.dimmer": 1.0})
    assert np.abs(rig.show(flat(0, 0, 0), sound=heard(spectrum=0.9)) - 229.5).max() <= 1


def test_audio_inputs_are_no_parameters(write_effect) -> None:
    effect = read_isf(write_effect(SIZES))
    assert effect.params == ()
    assert [source.samples for source in effect.inputs] == [64, 512, 512]


# The bundled halo.


def sung(rig: Rig, ground: np.ndarray, *, spectrum: np.ndarray | float = 0.7, frames: int = 30) -> np.ndarray:
    for _ in range(frames):
        seen = rig.show(ground, sound=heard(spectrum=spectrum))
    return seen


@pytest.fixture
def halo(rig_with) -> Rig:
    rig = rig_with(HALO, size_px=(320, 180))
    rig.set(**{"halo.strength": 1.0, "halo.sway": 0.0})
    return rig


def test_the_halo_is_dark_on_paper_and_light_at_night(halo: Rig) -> None:
    paper = sung(halo, PAPER)
    assert paper.min() < 120 and paper.max() <= 242
    night = sung(halo, NIGHT)
    assert night.max() > 120 and np.median(night) < 20


def test_silence_and_no_strength_leave_the_picture_alone(halo: Rig) -> None:
    untouched = np.abs(np.array((240, 236, 220)) - sung(halo, PAPER, spectrum=0.0))
    assert untouched.max() <= 2
    halo.set(**{"halo.strength": 0.0})
    assert np.abs(np.array((240, 236, 220)) - sung(halo, PAPER)).max() <= 2


def test_the_hairs_are_around_the_middle_bass_below(halo: Rig) -> None:
    bass = np.where(np.arange(SHAPE_SAMPLES) < 8, 0.9, 0.0)
    ink = 240 - sung(halo, PAPER, spectrum=bass)[..., 0]
    assert ink[60:120, 90:230].max() <= 2, "none where the creature sits"
    assert ink[150:].max() > 60 and ink[:90].max() <= 2
    assert abs(int((ink[:, :160] > 20).sum()) - int((ink[:, 160:] > 20).sum())) < 0.3 * (ink > 20).sum()


def test_the_default_is_faint_but_seen(rig_with) -> None:
    rig = rig_with(HALO, size_px=(640, 360))
    ink = 240 - sung(rig, PAPER)[..., 0]
    assert 40 < ink.max() < 235
    assert 0.002 < (ink > 12).mean() < 0.08, "a few hundredths of the frame"


def test_hairs_fall_back_when_the_music_stops(halo: Rig) -> None:
    sung(halo, PAPER)
    early = sung(halo, PAPER, spectrum=0.0, frames=6)
    late = sung(halo, PAPER, spectrum=0.0, frames=90)
    assert early.min() < 150
    assert np.abs(late - np.array((240, 236, 220))).max() <= 2


def test_every_parameter_of_the_halo_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "setlists.md").read_text(encoding="utf-8")
    params, warnings = effect_params((HALO,))
    assert warnings == () and len(params) == 6
    for param in params:
        row = f"| `{param.id}` | {param.low:g} to {param.high:g} | {param.unit} | {param.default:g} | {param.help} |"
        assert row in text


def test_it_stands_between_the_bundled_effects(rig_with) -> None:
    rig = rig_with(DEFAULT_EFFECTS[0], HALO, DEFAULT_EFFECTS[1], size_px=(320, 180))
    rig.set(**{**Rig.NEUTRAL, "halo.strength": 1.0})
    assert sung(rig, PAPER).min() < 140
