"""The reader of ISF files: what it takes, and how it says what it does not."""

import json

import pytest

from performer.params import Kind
from performer.stage.compositor import DEFAULT_EFFECTS, FRAME_SHADER, effect_params
from performer.stage.isf import IsfError, params_of, read_isf, size_px
from tests.stage.conftest import Rig, flat

BODY = "\nvoid main() { gl_FragColor = vec4(1.0); }\n"


def isf(**header: object) -> str:
    return f"/*{json.dumps(header)}*/{BODY}"


def test_inputs_become_parameters(write_effect) -> None:
    path = write_effect(
        isf(
            INPUTS=[
                {"NAME": "inputImage", "TYPE": "image"},
                {"NAME": "Depth", "TYPE": "float", "MIN": -2, "MAX": 3, "DEFAULT": 1, "UNIT": "s", "LABEL": "how deep"},
                {"NAME": "fold", "TYPE": "bool", "DEFAULT": True},
                {"NAME": "mode", "TYPE": "long", "VALUES": [0, 2, 5], "LABELS": ["a", "b", "c"], "DEFAULT": 2},
                {"NAME": "tint", "TYPE": "color", "DEFAULT": [1, 0, 0, 1]},
                {"NAME": "place", "TYPE": "point2D", "DEFAULT": [0.5, 0.5]},
                {"NAME": "hit", "TYPE": "event"},
            ]
        ),
        name="Night Sky.fs",
    )
    depth, fold, mode = params_of(path)
    assert (depth.id, depth.kind, depth.low, depth.high, depth.default) == ("night_sky.depth", Kind.FLOAT, -2, 3, 1)
    assert (depth.unit, depth.help) == ("s", "how deep")
    assert (fold.id, fold.kind, fold.default) == ("night_sky.fold", Kind.BOOL, 1)
    assert (mode.id, mode.kind, mode.low, mode.high, mode.default) == ("night_sky.mode", Kind.INT, 0, 5, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("void main() {}", ["header", "JSON"]),
        ("", ["header"]),
        ("/*{\n\n 'INPUTS': []}*/", ["line 3", "comma or quote"]),
        ("/*[1]*/", ["list", "JSON object"]),
        (isf(INPUTS={}), ["INPUTS", "list of objects"]),
        (isf(INPUTS=[1]), ["INPUTS", "list of objects"]),
        (isf(INPUTS=[{"TYPE": "float"}]), ["INPUTS[0].NAME", "None"]),
        (isf(INPUTS=[{"NAME": "a b", "TYPE": "float"}]), ["a b", "letters"]),
        (isf(INPUTS=[{"NAME": "gl_x", "TYPE": "float"}]), ["gl_x", "not taken"]),
        (isf(INPUTS=[{"NAME": "TIME", "TYPE": "float"}]), ["TIME", "not taken"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "flaot"}]), ["'a' TYPE", "flaot", "did you mean 'float'"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "audioFTT"}]), ["audioFTT", "did you mean 'audioFFT'"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "audioFFT", "MAX": 0}]), ["'a' MAX", "found 0", "from 1", "at most 512"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "audio", "MAX": 1.5}]), ["'a' MAX", "1.5", "whole number"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "audio", "MAX": "256"}]), ["'a' MAX", "'256'", "without quotes"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "float", "DEFAULT": "1"}]), ["DEFAULT", "'1'", "without quotes"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "float", "DEFAULT": 2}]), ["DEFAULT", "2.0", "0..1"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "float", "MIN": 1, "MAX": 0}]), ["MIN below MAX"]),
        ('/*{"INPUTS": [{"NAME": "a", "TYPE": "float", "MAX": NaN}]}*/', ["MAX", "finite"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "color", "DEFAULT": [1, 2]}]), ["4 numbers"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "long", "VALUES": []}]), ["VALUES"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "bool", "DEFAULT": 3}]), ["true or false"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "float"}, {"NAME": "a", "TYPE": "bool"}]), ["used once"]),
        (isf(INPUTS=[{"NAME": "a", "TYPE": "float"}, {"NAME": "A", "TYPE": "bool"}]), ["case"]),
        (isf(IMPORTED={"x": {"PATH": "/etc/passwd"}}), ["IMPORTED"]),
        (isf(PASSES=[{"PERSISTENT": True}]), ["PASSES[0].PERSISTENT", "TARGET"]),
        (isf(PASSES=[{"TARGET": "b", "WIDTH": "__import__('os').system('true')"}]), ["PASSES[0].WIDTH", "$WIDTH"]),
        (isf(PASSES=[{"TARGET": "b", "HEIGHT": "$HEIGHT/0"}]), ["PASSES[0].HEIGHT", "computed"]),
    ],
)
def test_a_fault_names_file_key_value_and_remedy(write_effect, text: str, said: list[str]) -> None:
    path = write_effect(text)
    with pytest.raises(IsfError) as caught:
        read_isf(path)
    message = str(caught.value)
    assert str(path) in message and ";" in message
    for part in said:
        assert part in message


@pytest.mark.parametrize("data", [b"/*{}*/\0", b"/*{}*/\xff\xfe", b"/*" + b"[" * 100_000, b" " * (2 << 20)])
def test_files_that_are_no_text_are_refused(tmp_path, data: bytes) -> None:
    path = tmp_path / "odd.fs"
    path.write_bytes(data)
    with pytest.raises(IsfError):
        read_isf(path)


def test_a_missing_file_is_refused_and_left_out(tmp_path) -> None:
    with pytest.raises(IsfError, match="cannot be read"):
        read_isf(tmp_path / "none.fs")
    params, warnings = effect_params([tmp_path / "none.fs", *DEFAULT_EFFECTS])
    assert "grade.exposure" in [param.id for param in params]
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("640", 640),
        ("$WIDTH", 1280),
        ("$WIDTH/2", 640),
        ("floor($HEIGHT / 7.0)", 102),
        ("max(1, round(64 * $HEIGHT / $WIDTH))", 36),
        ("-5", 1),
        ("$WIDTH*$WIDTH", 8192),
    ],
)
def test_sizes(expression: str, expected: int) -> None:
    assert size_px(expression, width_px=1280, height_px=720) == expected


@pytest.mark.parametrize(
    "expression", ["", "$DEPTH", "2**9999", "a.b", "[1]", "'x'*9", "lambda: 1", "open('x')", "1e999", "(" * 150, "True"]
)
def test_sizes_are_nothing_but_arithmetic(expression: str) -> None:
    with pytest.raises(ValueError, match=r"arithmetic|numbers|computed|finite"):
        size_px(expression, width_px=1280, height_px=720)


@pytest.mark.parametrize("path", [FRAME_SHADER, *DEFAULT_EFFECTS])
def test_our_own_effects_are_documented(path) -> None:
    effect = read_isf(path)
    assert effect.description and not effect.notes
    for param in effect.params:
        assert len(param.help) > 8, param.id
        assert param.low <= param.default <= param.high


def test_the_isf_dialect_of_others_runs(write_effect) -> None:
    """Upper and lower passes, macros, an old `varying`, a float buffer, and a vertex shader beside it."""
    path = write_effect(
        """/*{"INPUTS": [{"NAME": "inputImage", "TYPE": "image"},
  {"NAME": "tint", "TYPE": "color", "DEFAULT": [0, 1, 0, 1]},
  {"NAME": "mode", "TYPE": "long", "VALUES": [0, 4], "DEFAULT": 4}, {"NAME": "hit", "TYPE": "event"}],
"PASSES": [{"TARGET": "held", "PERSISTENT": true, "FLOAT": true, "WIDTH": "$WIDTH/2"}, {}]}*/
#version 120
varying vec2 left_coord;
void main() {
  if (PASSINDEX == 0) gl_FragColor = IMG_THIS_PIXEL(inputImage) * (hit ? 0.0 : 1.0);
  else {
    vec4 c = IMG_NORM_PIXEL(held, isf_FragNormCoord) + 0.0 * IMG_PIXEL(held, left_coord)
           + 0.0 * IMG_THIS_NORM_PIXEL(held);
    gl_FragColor = mode == 4 && IMG_SIZE(held).x == RENDERSIZE.x / 2.0 && TIMEDELTA > 0.0 ? c * tint : vec4(1.0);
  }
}
"""
    )
    vertex = "varying vec2 left_coord;\nvoid main() { isf_vertShaderInit(); left_coord = vec2(1.0); }\n"
    path.with_suffix(".vs").write_text(vertex)
    assert read_isf(path).notes
    rig = Rig(effects=(path,))
    seen = rig.show(flat(200, 200, 200))
    assert rig.stage.warnings == ()
    assert tuple(seen[36, 64]) == pytest.approx((0, 200, 0), abs=2)
    rig.close()
