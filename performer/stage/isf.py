"""Reader of ISF effects: GLSL fragments that declare their inputs in a JSON header (https://isf.video, version 2).

An effect is one file. Its float, bool and long inputs become parameters named `<file>.<input>`, so that a new effect
brings its knobs, OSC addresses and meters without a line of Python. Two keys beyond the standard are read from an
input: `UNIT` (the parameter's unit) and `HELP` (one line for people; else the `LABEL`).

What is supported: inputs of type float, bool, long, color, event, point2D, image, audio and audioFFT; passes with
TARGET, PERSISTENT, WIDTH and HEIGHT; a vertex shader in a `.vs` file of the same name. FLOAT buffers are noted and
ignored (eight bits are what a software renderer can afford). IMPORTED pictures are refused.

Thread: any; nothing here touches GL. No text of the file is ever evaluated: sizes go through a parser of our own.
"""

import ast
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from performer.flow import SHAPE_SAMPLES
from performer.params import Kind, Param, nearest

TYPES = ("float", "bool", "long", "color", "event", "point2D", "image", "audio", "audioFFT")
START_IMAGE, END_IMAGE, PROGRESS = "startImage", "endImage", "progress"  # what a transition must declare
SOUNDS = ("audio", "audioFFT")  # the types that are textures of what is heard
MAX_BYTES = 1 << 20
MAX_SIDE_PX = 8192
_PARAM_KINDS = {"float": Kind.FLOAT, "bool": Kind.BOOL, "long": Kind.INT}
_GLSL_TYPES = {"float": "float", "bool": "bool", "event": "bool", "long": "int", "color": "vec4", "point2D": "vec2"}
_RESERVED = {"TIME", "TIMEDELTA", "RENDERSIZE", "FRAMEINDEX", "PASSINDEX", "DATE", "isf_FragNormCoord", "STAGE_GAIN"}
_HEADER = re.compile(r"\s*/\*(.*?)\*/", re.DOTALL)
_VERSION = re.compile(r"^[ \t]*#version.*$", re.MULTILINE)
_WHOLE_SIZE = "$WIDTH", "$HEIGHT"


class IsfError(ValueError):
    """An effect that cannot be used: names the file, the key, the value, what was expected, and the remedy."""


@dataclass(frozen=True, slots=True)
class IsfInput:
    """One declared input. Numbers are in the shader's own unit."""

    name: str
    type: str  # one of TYPES
    default: float | tuple[float, ...] = 0.0  # four numbers for a color, two for a point2D
    low: float = 0.0
    high: float = 1.0
    choices: tuple[int, ...] = ()  # of a long; empty where any whole number will do
    samples: int = 0  # of an audio or audioFFT: width of its texture
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class IsfPass:
    """One drawing. Sizes are expressions in $WIDTH and $HEIGHT, in pixels."""

    target: str = ""  # buffer that is drawn into; empty for the effect's output
    persistent: bool = False  # the buffer keeps its picture until the next frame
    width: str = "$WIDTH"
    height: str = "$HEIGHT"

    @property
    def whole(self) -> bool:
        """True where the pass has the effect's own size."""
        return (self.width, self.height) == _WHOLE_SIZE


@dataclass(frozen=True, slots=True)
class IsfEffect:
    """A checked effect, ready to compile."""

    name: str  # lower case; the first part of its parameters' ids
    path: Path
    description: str
    inputs: tuple[IsfInput, ...]
    passes: tuple[IsfPass, ...]  # at least one
    fragment: str  # the user's text, unchanged
    vertex: str | None  # text of the .vs file beside it
    notes: tuple[str, ...]  # what was ignored, for people

    @property
    def is_transition(self) -> bool:
        """Whether it mixes two pictures: by ISF's custom `startImage`, `endImage` and `progress`."""
        kinds = {source.name: source.type for source in self.inputs}
        return (kinds.get(START_IMAGE), kinds.get(END_IMAGE), kinds.get(PROGRESS)) == ("image", "image", "float")

    def param_id(self, source: IsfInput) -> str:
        """Id of the parameter that drives `source`."""
        return f"{self.name}.{source.name.lower()}"

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters that this effect declares, in the order of the file."""
        return tuple(
            Param(
                id=self.param_id(source),
                kind=_PARAM_KINDS[source.type],
                default=float(source.default),  # type: ignore[arg-type]
                low=source.low,
                high=source.high,
                unit=source.unit,
                help=source.help,
            )
            for source in self.inputs
            if source.type in _PARAM_KINDS and not (self.is_transition and source.name == PROGRESS)
        )


def effect_name(path: Path) -> str:
    """What the effect in a file is called."""
    return re.sub(r"[^a-z0-9]+", "_", path.stem.lower())


def read_isf(path: str | Path) -> IsfEffect:
    """Read and check the effect at `path`. Raises IsfError."""
    path = Path(path)
    text = _text_of(path)
    header = _header_of(path, text)
    notes: list[str] = []
    for key, remedy in (
        ("IMPORTED", "draw the picture in the shader, or feed it as an image input"),
        ("PERSISTENT_BUFFERS", 'this is ISF version 1: write "PERSISTENT": true into the pass instead'),
    ):
        if header.get(key):
            raise _fault(path, key, header[key], "nothing", remedy)
    inputs = tuple(_input_of(path, row, raw) for row, raw in enumerate(_list(path, header, "INPUTS")))
    passes = tuple(_pass_of(path, row, raw, notes) for row, raw in enumerate(_list(path, header, "PASSES")))
    names = [source.name for source in inputs] + sorted({p.target for p in passes if p.target})
    for name in names:
        if names.count(name) > 1:
            raise _fault(path, "NAME", name, "a name used once", "rename one of the inputs or targets")
    ids = [source.name.lower() for source in inputs]
    for name in ids:
        if ids.count(name) > 1:
            raise _fault(path, "NAME", name, "names that differ in more than case", "rename one of the inputs")
    vertex = path.with_suffix(".vs")
    return IsfEffect(
        name=effect_name(path),
        path=path,
        description=str(header.get("DESCRIPTION", "")),
        inputs=inputs,
        passes=passes or (IsfPass(),),
        fragment=text,
        vertex=_text_of(vertex) if vertex.exists() else None,
        notes=tuple(notes),
    )


def params_of(path: str | Path) -> tuple[Param, ...]:
    """The parameters that the effect at `path` declares. Needs no GL. Raises IsfError."""
    return read_isf(path).params


# --- the header ------------------------------------------------------------------------------------------------------


def _fault(path: Path, key: str, value: Any, expected: str, remedy: str) -> IsfError:
    return IsfError(f"{path}: {key}: found {value!r}, expected {expected}; {remedy}")


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IsfError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    if len(data) > MAX_BYTES:
        raise _fault(path, "file", f"{len(data)} bytes", f"at most {MAX_BYTES}", "this is hardly a shader")
    if b"\0" in data:
        raise _fault(path, "file", "a NUL byte", "text", "save it as plain UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(path, "file", f"byte {error.start}", "UTF-8", "save it as plain UTF-8") from None


def _header_of(path: Path, text: str) -> dict[str, Any]:
    found = _HEADER.match(text)
    if found is None:
        raise _fault(path, "header", text[:20], "/*{ JSON }*/ first", "is this an ISF file?")
    try:
        header = json.loads(found[1])
    except json.JSONDecodeError as error:
        line = text.count("\n", 0, found.start(1)) + error.lineno
        remedy = "look for a missing comma or quote"
        raise _fault(path, f"header, line {line}", error.msg, "valid JSON", remedy) from None
    except RecursionError:
        raise _fault(path, "header", "deep nesting", "an ISF header", "is this an ISF file?") from None
    if not isinstance(header, dict):
        raise _fault(path, "header", type(header).__name__, "a JSON object", "begin the header with /*{")
    return header


def _list(path: Path, header: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = header.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _fault(path, key, rows, "a list of objects", f'write "{key}": [{{...}}]')
    return rows


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _fault(path, key, value, "a finite number", "write a number without quotes")
    return float(value)


def _numbers(path: Path, key: str, value: Any, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise _fault(path, key, value, f"a list of {count} numbers", "write [0.0, ...]")
    return tuple(_number(path, key, one) for one in value)


def _input_of(path: Path, row: int, raw: Mapping[str, Any]) -> IsfInput:
    name, kind = raw.get("NAME"), raw.get("TYPE")
    key = f"INPUTS[{row}]"
    _check_name(path, f"{key}.NAME", name)
    assert isinstance(name, str)
    key = f"INPUTS[{row}] {name!r}"
    if kind not in TYPES:
        raise _fault(path, f"{key} TYPE", kind, " ".join(TYPES), f"use one of these{nearest(str(kind), TYPES)}")
    text: dict[str, Any] = {
        "help": str(raw.get("HELP") or raw.get("LABEL") or name),
        "unit": str(raw.get("UNIT", "")),
    }
    if kind in ("image", "event"):
        return IsfInput(name, kind, **text)
    if kind in SOUNDS:
        return IsfInput(name, kind, samples=_samples_of(path, key, raw), **text)
    if kind == "color":
        return IsfInput(name, kind, _numbers(path, f"{key} DEFAULT", raw.get("DEFAULT", [1, 1, 1, 1]), 4), **text)
    if kind == "point2D":
        return IsfInput(name, kind, _numbers(path, f"{key} DEFAULT", raw.get("DEFAULT", [0, 0]), 2), **text)
    if kind == "bool":
        default = raw.get("DEFAULT", False)
        if default not in (0, 1):
            raise _fault(path, f"{key} DEFAULT", default, "true or false", "write it without quotes")
        return IsfInput(name, kind, float(default), **text)
    choices: tuple[int, ...] = ()
    if kind == "long" and "VALUES" in raw:
        values = raw["VALUES"]
        if not isinstance(values, list) or not values:
            raise _fault(path, f"{key} VALUES", values, "a list of whole numbers", "write [0, 1, 2]")
        choices = tuple(int(_number(path, f"{key} VALUES", one)) for one in values)
    low = _number(path, f"{key} MIN", raw.get("MIN", min(choices, default=0)))
    high = _number(path, f"{key} MAX", raw.get("MAX", max(choices, default=1)))
    if not low < high and not choices:
        raise _fault(path, f"{key} MIN, MAX", (low, high), "MIN below MAX", "swap or widen them")
    default = _number(path, f"{key} DEFAULT", raw.get("DEFAULT", min(max(0.0, low), high)))
    if not low <= default <= high:
        raise _fault(path, f"{key} DEFAULT", default, f"a number in {low:g}..{high:g}", "move it, or MIN or MAX")
    return IsfInput(name, kind, default, low, high, choices, **text)


def _samples_of(path: Path, key: str, raw: Mapping[str, Any]) -> int:
    """How many samples an audio input asks for: all that there are, or MAX where that is less."""
    most = _number(path, f"{key} MAX", raw.get("MAX", SHAPE_SAMPLES))
    if most < 1 or most != int(most):
        remedy = f"write how many samples or bins you read, at most {SHAPE_SAMPLES}, or leave MAX out"
        raise _fault(path, f"{key} MAX", raw["MAX"], "a whole number from 1", remedy)
    return min(int(most), SHAPE_SAMPLES)


def _pass_of(path: Path, row: int, raw: Mapping[str, Any], notes: list[str]) -> IsfPass:
    target = raw.get("TARGET", "")
    if target:
        _check_name(path, f"PASSES[{row}].TARGET", target)
    persistent = bool(raw.get("PERSISTENT", False))
    if persistent and not target:
        raise _fault(path, f"PASSES[{row}].PERSISTENT", True, "a TARGET beside it", "name the buffer that persists")
    if raw.get("FLOAT"):
        notes.append(f"{path.name}: PASSES[{row}].FLOAT is ignored: buffers hold 8 bits a channel")
    sizes = []
    for key, whole in zip(("WIDTH", "HEIGHT"), _WHOLE_SIZE, strict=True):
        text = str(raw.get(key, whole))
        try:
            size_px(text, width_px=1280, height_px=720)
        except ValueError as error:
            remedy = "write a number, or something like floor($WIDTH/2)"
            raise _fault(path, f"PASSES[{row}].{key}", text, str(error), remedy) from None
        sizes.append(text)
    return IsfPass(target, persistent, *sizes)


def _check_name(path: Path, key: str, name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
        raise _fault(path, key, name, "letters, digits and _", "choose a name that GLSL can hold")
    if name in _RESERVED or name.startswith("gl_") or "__" in name:
        raise _fault(path, key, name, "a name that is not taken", "ISF or GLSL uses it already")


# --- sizes: a tiny arithmetic ----------------------------------------------------------------------------------------

_FUNCTIONS = {"floor": math.floor, "ceil": math.ceil, "round": round, "min": min, "max": max}
_OPERATORS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def size_px(expression: str, *, width_px: int, height_px: int) -> int:
    """Pixels that `expression` comes to, kept within 1..MAX_SIDE_PX.

    Numbers, $WIDTH, $HEIGHT, + - * /, and floor, ceil, round, min, max; nothing else. Raises ValueError that says
    what was expected.
    """
    if len(expression) > 200:
        raise ValueError("at most 200 characters")
    names = {"WIDTH": width_px, "HEIGHT": height_px}

    def value_of(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return float(value)
            case ast.Name(id=name) if name in names:
                return float(names[name])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value_of(left), value_of(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value_of(operand)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
                return float(_FUNCTIONS[name](*map(value_of, args)))
        raise ValueError("numbers, $WIDTH, $HEIGHT, + - * / and floor ceil round min max")

    try:
        tree = ast.parse(expression.replace("$", "").strip(), mode="eval")
        value = value_of(tree.body)
    except (SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("numbers, $WIDTH, $HEIGHT, + - * / and floor ceil round min max") from None
    except (ZeroDivisionError, OverflowError):
        raise ValueError("a size that can be computed") from None
    if not math.isfinite(value):
        raise ValueError("a size that is finite")
    return min(max(int(value), 1), MAX_SIDE_PX)


# --- GLSL ------------------------------------------------------------------------------------------------------------


def glsl_of(effect: IsfEffect, *, pass_index: int = 0, final: bool = False) -> tuple[str, str]:
    """(vertex, fragment) sources of one pass of `effect`, for GL 3.3 core.

    Compiler messages carry the line numbers of the user's file. PASSINDEX is a constant, so that a pass pays for its
    own branch alone: a software renderer computes both sides of a branch that it cannot fold. With `final`, the
    drawing is multiplied by the uniform STAGE_GAIN, which is how the stage dims any effect at no cost.
    """
    uniforms = [
        "uniform float TIME;",
        "uniform float TIMEDELTA;",
        "uniform vec2 RENDERSIZE;",
        "uniform vec4 DATE;",
        "uniform int FRAMEINDEX;",
        f"const int PASSINDEX = {pass_index};",
        *(f"uniform {_GLSL_TYPES.get(source.type, 'sampler2D')} {source.name};" for source in effect.inputs),
        *(f"uniform sampler2D {name};" for name in dict.fromkeys(p.target for p in effect.passes if p.target)),
        "#define IMG_SIZE(image) vec2(textureSize(image, 0))",
        "#define IMG_NORM_PIXEL(image, at) texture(image, at)",
        "#define IMG_PIXEL(image, at) texture(image, (at) / IMG_SIZE(image))",
        "#define IMG_THIS_PIXEL(image) texture(image, isf_FragNormCoord)",
        "#define IMG_THIS_NORM_PIXEL(image) texture(image, isf_FragNormCoord)",
        "#define texture2D texture",
    ]
    vertex = [
        "#version 330 core",
        "in vec2 isf_corner;",
        "out vec2 isf_FragNormCoord;",
        "#define varying out",
        *uniforms,
        "void isf_vertShaderInit() {",
        "  gl_Position = vec4(isf_corner, 0.0, 1.0); isf_FragNormCoord = isf_corner * 0.5 + 0.5;",
        "}",
        "#define vv_vertShaderInit isf_vertShaderInit",
        "#line 1",
        _without_version(effect.vertex or "void main() { isf_vertShaderInit(); }"),
    ]
    fragment = [
        "#version 330 core",
        "in vec2 isf_FragNormCoord;",
        "out vec4 isf_FragColor;",
        "#define gl_FragColor isf_FragColor",
        "#define varying in",
        *uniforms,
    ]
    if final:
        fragment += ["uniform float STAGE_GAIN;", "#define main isf_main"]
    fragment += ["#line 1", _without_version(effect.fragment)]
    if final:
        fragment += [
            "#undef main",
            "void main() { isf_main(); isf_FragColor = vec4(isf_FragColor.rgb * STAGE_GAIN, 1.0); }",
        ]
    return "\n".join(vertex) + "\n", "\n".join(fragment) + "\n"


def _without_version(text: str) -> str:
    return _VERSION.sub("", text)
