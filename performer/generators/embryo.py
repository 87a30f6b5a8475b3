"""The embryo: a seeded random initialisation of the light generator, which stands in until species are trained.

Run `python -m performer.generators.embryo OUT.safetensors` to make the file in `checkpoints/` again, bit for bit.

Nothing here was learnt from pictures. A plain random network draws fog; what makes this one draw something that lives is
a scaffold in its numbers, laid by hand and filled in at random. The constant holds the coordinates x and y. Coarse
layers turn them into the soft lobes of a body, mirrored left to right; middle layers fold them into segments, veins,
rings and eyes; fine layers light all this up and let it die out on the ground around the body. Where lobes lie, how
often segments repeat and which colours they have are random directions of w. Beside the scaffold lives `plasm`, a small
random network with mirrored kernels and noise, which bends the scaffold so that nothing is drawn with a ruler.

The scaffold is written as formulas, layer by layer (`_scaffold`), and laid onto channels by `_Weaver`. The page is long
because a drawing is many small formulas, which make sense side by side only.

Thread: a program of its own.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from performer.flow import F32, F64, NOISE_MAPS
from performer.generators import light
from performer.generators.checkpoint import Checkpoint, Provenance, save
from performer.generators.mapping import LEARNING_RATE_FACTOR, Mapping
from performer.generators.ops import ACTIVATION_GAIN, LEAK, StyledConv

SEED = 23
RESOLUTION = 256
Z_DIM = W_DIM = 512
MAPPING_LAYERS = 8
CALIBRATION_IMAGES = 24

LAYERS = [(r, name) for r in light.CHANNELS for name in (("conv0", "conv1") if r > 4 else ("conv1",))]
HEAD = len(LAYERS)
SILENT = 2  # the first channels of every layer: two that are always equal, see _Weaver
LOUDEST = 24.0  # of an activation, for a signal of 1
MODULATED = 0.3  # share of demodulation that a modulated formula may claim, see _Weaver
NOISE_STRENGTH = 0.013  # beside a signal of 1 in the quietest channel of a layer

SMOOTH = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
POINT = np.outer([0.0, 1.0, 0.0], [0.0, 1.0, 0.0])

GROUND = (-0.88, -0.86, -0.78)  # colour where nothing lives, -1..1
LUMA = np.array([0.97, 0.9, 0.86])
# Two axes of colour that leave brightness alone: amber against blue, and magenta against green.
AMBER = np.array([0.70, -0.16, -0.75])
ROSE = np.array([0.62, -0.40, 0.50])

# Lobes of the body: middle x, y and radii along their own axes, turn, and how much their size varies. Those beside the
# axis come in pairs.
LOBES = {
    "trunk": (0.0, 0.02, 0.22, 0.62, 0.0, 0.08),
    "head": (0.0, -0.40, 0.24, 0.21, 0.0, 0.22),
    "tail": (0.0, 0.46, 0.17, 0.28, 0.0, 0.25),
    "wing": (0.42, -0.18, 0.46, 0.18, -0.45, 0.36),
    "fin": (0.34, 0.30, 0.42, 0.15, 0.65, 0.36),
    "horn": (0.24, -0.48, 0.32, 0.10, -1.0, 0.35),
}
EGG = 0.80, 0.76  # radii of the room in which a body may be; the frame dissolves the picture's rim
DIRECTIONS = 4  # a circle is drawn as a polygon with twice as many sides, and blurred round
# How many random signals live beside the scaffold in each layer.
PLASM = {"4.1": 10, "8.0": 12, "8.1": 12, "16.0": 6, "16.1": 6, "32.0": 4}


@dataclass(frozen=True, slots=True)
class Style:
    """How w scales a signal before a layer uses it: mean + swing * latent, where latent is about standard normal."""

    latent: str = ""
    swing: float = 0.0
    mean: float = 1.0


PLAIN = Style()
Places = dict[tuple[str, Style], slice]  # the channels of each signal, for each style it is read with


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a formula: a signal of the layer before, read in one way and weighted."""

    signal: str
    weight: float = 1.0
    read: str = "value"  # "value" v, "size" |v|, "above" max(v, 0)
    style: Style = PLAIN
    kernel: F64 | None = None  # [3, 3]; None reads the point itself


@dataclass(frozen=True, slots=True)
class Formula:
    """What a signal is in one layer, before the next one reads it."""

    terms: tuple[Term, ...]
    constant: float = 0.0
    positive: bool = False  # never below zero, so that one channel is enough
    plasm: bool = False  # random: centred and brought to spread 1 by measurement


# A signal v lives in two channels, leaky_relu(v) and leaky_relu(-v): of these, v, |v| and max(v, 0) are all exact sums.
READS = {
    "value": (1 / (1 + LEAK), -1 / (1 + LEAK)),
    "size": (1 / (1 - LEAK), 1 / (1 - LEAK)),
    "above": (1 / (1 - LEAK**2), LEAK / (1 - LEAK**2)),
}


def _push(latent: str, swing: float, *, weight: float = 1.0) -> Term:
    """A number that depends on w alone, the same everywhere in the picture."""
    return Term("one", weight, style=Style(latent, swing, mean=0.0))


class _Weaver:
    """Formulas of all layers, and how they lie on channels.

    A layer can only read the one before, so a signal that is read later is carried along; and a style scales a channel
    for all its readers alike, so a signal that is read with two styles lives in two places. Demodulation makes the
    weights of each channel a unit vector: what a formula does not use of that goes to the two silent channels, with
    opposite signs, and cancels there. A formula with styles claims only a part, so that a style which grows is not
    divided away again.
    """

    def __init__(self) -> None:
        self.const: dict[str, F64] = {}  # [4, 4] each
        self.formulas: list[dict[str, Formula]] = [{} for _ in LAYERS]
        self.colours: list[tuple[Term, F64]] = []  # what the head reads, and the colour [3] of each

    def define(
        self,
        layer: str,  # such as "16.0": resolution and number of the convolution
        signal: str,
        *terms: Term,
        constant: float = 0.0,
        positive: bool = False,
        plasm: bool = False,
    ) -> None:
        index = [f"{resolution}.{name[-1]}" for resolution, name in LAYERS].index(layer)
        self.formulas[index][signal] = Formula(terms, constant, positive, plasm)

    def formula(self, layer: int, signal: str) -> Formula:
        """What `signal` is after `layer`: its own formula there, or the signal carried along."""
        own = self.formulas[layer].get(signal)
        return own or Formula((Term(signal),), positive=self._positive(layer - 1, signal))

    def _positive(self, layer: int, signal: str) -> bool:
        if layer < 0:
            return signal == "one"
        return self.formula(layer, signal).positive

    def places(self) -> list[Places]:
        """Where the signals lie that each layer, and at the end the head, reads."""
        read = [term for term, _ in self.colours]
        places: list[Places] = []
        for layer in range(HEAD, -1, -1):
            taken: Places = {}
            at = SILENT
            for key in dict.fromkeys((term.signal, term.style) for term in read):
                width = 1 if layer == 0 or self._positive(layer - 1, key[0]) else 2
                taken[key] = slice(at, at + width)
                at += width
            channels = light.CHANNELS[LAYERS[max(layer - 1, 0)][0]]
            if at > channels:
                raise ValueError(f"layer {layer} has {channels} channels; {at} are needed")
            places.insert(0, taken)
            if layer:
                signals = dict.fromkeys(signal for signal, _ in taken)
                read = [term for signal in signals for term in self.formula(layer - 1, signal).terms]
        return places


class _Latents:
    """Named directions of w, each about standard normal over the species."""

    def __init__(self, rng: np.random.Generator, w: F32) -> None:
        self._rng = rng
        self._mean = w.mean(0).astype(np.float64)
        self._offsets = w - w.mean(0)
        self._directions: dict[str, F64] = {}

    def direction(self, name: str) -> F64:
        """[w_dim]; at right angles to the mean of w, so that a latent is zero for the mean animal."""
        if name not in self._directions:
            direction = self._rng.standard_normal(W_DIM)
            direction -= self._mean * (direction @ self._mean) / (self._mean @ self._mean)
            self._directions[name] = direction / (self._offsets @ direction).std()
        return self._directions[name]


def tensors(seed: int = SEED) -> dict[str, np.ndarray]:
    """All weights of the embryo, float32. The same seed gives the same numbers."""
    rng = np.random.Generator(np.random.Philox(seed))
    weights: dict[str, np.ndarray] = {"mapping.w_avg": np.zeros(W_DIM)}
    for layer in range(MAPPING_LAYERS):
        inside = Z_DIM if layer == 0 else W_DIM
        weights[f"mapping.fc{layer}.weight"] = rng.standard_normal((W_DIM, inside)) / LEARNING_RATE_FACTOR
        weights[f"mapping.fc{layer}.bias"] = np.zeros(W_DIM)
    w = _mapped(weights, rng)
    weights["mapping.w_avg"] = w.mean(0)
    weights |= _woven(_scaffold(rng), _Latents(rng, w), rng, w[:CALIBRATION_IMAGES])
    return {key: value.astype(np.float32) for key, value in weights.items()}


def checkpoint_of(weights: dict[str, np.ndarray]) -> Checkpoint:
    """The species that `weights` make, in memory."""
    return Checkpoint(
        family=light.NAME,
        sizes=light.sizes(resolution=RESOLUTION, z_dim=Z_DIM, w_dim=W_DIM),
        provenance=Provenance(
            name="embryo",
            origin="a structured random initialisation; learnt from nothing",
            licence="CC0-1.0",
            trained=False,
            made_with=f"performer.generators.embryo, seed {SEED}",
            seed=SEED,
        ),
        tensors={key: value.astype(np.float32) for key, value in weights.items()},
        content_hash="",
    )


def _mapped(weights: dict[str, np.ndarray], rng: np.random.Generator, count: int = 2048) -> F32:
    mapping = Mapping(checkpoint_of(weights))
    # One by one: a product with many rows rounds differently, and the file is to come out the same, bit for bit.
    return np.stack([mapping.w_from_z(z) for z in rng.standard_normal((count, Z_DIM)).astype(np.float32)])


def _affine(weights: dict[str, np.ndarray], prefix: str, taken: Places, latents: _Latents, channels: int) -> F64:
    """Write the styles of a layer; returns how large they typically are, [channels]."""
    weight, bias, typical = np.zeros((channels, W_DIM)), np.ones(channels), np.ones(channels)
    for (_, style), at in taken.items():
        if style.swing:
            # Equalised learning rate divides by sqrt(w_dim) again.
            weight[at] = latents.direction(style.latent) * style.swing * math.sqrt(W_DIM)
        bias[at] = style.mean
        typical[at] = math.hypot(style.mean, style.swing)
    weights[f"{prefix}.affine.weight"], weights[f"{prefix}.affine.bias"] = weight, bias
    return typical


def _kernel(formula: Formula, taken: Places, loudness: F64) -> F64:
    """[channels, 3, 3]: what a formula asks of each channel of the layer before."""
    kernel = np.zeros((len(loudness), 3, 3))
    for term in formula.terms:
        source = taken[term.signal, term.style]
        taps = POINT if term.kernel is None else term.kernel
        kernel[source] += term.weight * (_reads(term, source) / loudness[source])[:, None, None] * taps
    return kernel


def _reads(term: Term, source: slice) -> F64:
    """The weights of the channels in `source` that together read the signal; one channel holds it as it is."""
    return np.array(READS[term.read]) if source.stop - source.start > 1 else np.ones(1)


@torch.no_grad()
def _woven(weaver: _Weaver, latents: _Latents, rng: np.random.Generator, w: F32) -> dict[str, np.ndarray]:
    """The synthesis network, layer by layer; plasm is measured on the latents `w` on the way."""
    weights: dict[str, np.ndarray] = {}
    places = weaver.places()
    ws = torch.from_numpy(w)

    const = np.zeros((light.CHANNELS[4], 4, 4))
    loudness = np.zeros(light.CHANNELS[4])  # activation of each channel for a signal of 1
    for (signal, _), at in places[0].items():
        const[at] = weaver.const[signal] * LOUDEST
        loudness[at] = LOUDEST
    weights["synthesis.b4.const"] = const
    x = torch.from_numpy(const.astype(np.float32)).permute(1, 2, 0)[None].expand(len(w), -1, -1, -1)  # [N, H, W, C]

    for layer, (resolution, name) in enumerate(LAYERS):
        prefix = f"synthesis.b{resolution}.{name}"
        inside, out = len(loudness), light.CHANNELS[resolution]
        taken, given = places[layer], places[layer + 1]
        typical = _affine(weights, prefix, taken, latents, inside)
        weight, bias, louder = np.zeros((out, inside, 3, 3)), np.zeros(out), np.zeros(out)
        measured, quietest = [], LOUDEST
        for (signal, _), at in given.items():
            formula = weaver.formula(layer, signal)
            kernel = _kernel(formula, taken, loudness)
            norm = math.sqrt((np.square(kernel) * np.square(typical)[:, None, None]).sum())
            share = MODULATED if any(term.style.swing for term in formula.terms) else 1.0
            loud = min(LOUDEST, share / norm)
            rest = math.sqrt(max(0.0, 1.0 - (loud * norm) ** 2) / SILENT)
            for channel, sign in zip(range(at.start, at.stop), (1.0, -1.0), strict=False):
                weight[channel] = sign * loud * kernel
                weight[channel, :SILENT, 1, 1] = [rest, -rest]
                bias[channel] = sign * loud * formula.constant
            louder[at] = loud * ACTIVATION_GAIN
            if formula.plasm:
                measured.append(at)
            else:
                quietest = min(quietest, loud)
        weights[f"{prefix}.weight"] = weight
        weights[f"{prefix}.noise_const"] = _mirrored(rng.standard_normal((resolution, resolution))) * math.sqrt(2)
        weights[f"{prefix}.noise_strength"] = np.array(NOISE_STRENGTH * quietest)
        weights[f"{prefix}.bias"] = bias
        conv = StyledConv(
            inside, out, w_dim=W_DIM, size_px=(resolution, resolution), up="bilinear" if name == "conv0" else ""
        )
        conv.load_state_dict(
            {key: torch.from_numpy(np.asarray(weights[f"{prefix}.{key}"], np.float32)) for key in conv.state_dict()}
        )
        linear = conv.before_activation(x, ws, torch.eye(1, NOISE_MAPS)[0])
        for at in measured:
            # Rounded, so that machines which add in another order still write the same file.
            plasm = linear[..., at.start]
            mean, spread = round(float(plasm.mean()), 3), round(float(plasm.std()), 3)
            offset = np.array([-mean, mean])
            bias[at] += offset
            linear[..., at] += torch.from_numpy(offset.astype(np.float32))
            louder[at] = spread * ACTIVATION_GAIN
        x = conv.activate(linear)
        loudness = louder

    head = np.zeros((3, len(loudness)))
    _affine(weights, "synthesis.head", places[HEAD], latents, len(loudness))
    for term, colour in weaver.colours:
        at = places[HEAD][term.signal, term.style]
        head[:, at] += np.outer(colour * term.weight, _reads(term, at) / loudness[at])
    weights["synthesis.head.weight"] = _shuffled(head) * math.sqrt(head.shape[1] * 9)
    weights["synthesis.head.bias"] = np.repeat(GROUND, light.SHUFFLE**2)
    return weights


def _shuffled(colours: F64) -> F64:
    """Colours of channels [3, C] as the kernels of the head [12, C, 3, 3]: its four phases interpolate bilinearly."""
    taps = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    phases = np.stack([np.outer(taps[dy], taps[dx]) for dy in range(2) for dx in range(2)])
    return (colours[:, None, :, None, None] * phases[None, :, None]).reshape(12, -1, 3, 3)


def _mirrored(array: np.ndarray) -> np.ndarray:
    """The part of `array` that is symmetric along its last axis."""
    return (array + array[..., ::-1]) * 0.5


def _plasm(weaver: _Weaver, rng: np.random.Generator) -> None:
    """A small random network with mirrored kernels, whose signals are p0, p1 and so on in every layer it lives in."""
    before = PLASM["4.1"]
    for index in range(before):
        weaver.const[f"p{index}"] = _mirrored(rng.standard_normal((4, 4)))
    for layer, count in PLASM.items():
        for index in range(count):
            weaver.define(
                layer,
                f"p{index}",
                *(
                    Term(
                        f"p{other}",
                        read="value" if rng.random() < 0.5 else "size",
                        style=Style(f"plasm {layer} {other}", 0.7),
                        kernel=_mirrored(rng.standard_normal() + rng.standard_normal((3, 3)) * 0.5) * SMOOTH,
                    )
                    for other in range(before)
                ),
                plasm=True,
            )
        before = count


def _scaffold(rng: np.random.Generator) -> _Weaver:
    """All formulas. Coordinates run over -1..1 and stand still beyond the outermost points of the constant."""
    weaver = _Weaver()
    place = np.array([-0.69, -0.23, 0.23, 0.69])
    weaver.const |= {"x": np.tile(place, (4, 1)), "y": np.tile(place[:, None], (1, 4)), "one": np.ones((4, 4))}
    _plasm(weaver, rng)
    _form(weaver)
    _parts(weaver)
    _skin(weaver)
    _light(weaver)
    return weaver


def _directions(radii: tuple[float, float], *, turn: float = 0.0, count: int = DIRECTIONS) -> list[tuple[float, float]]:
    """Normals whose mean |normal * place| is about the distance from the middle of an ellipse, 1 on its edge."""
    normals = []
    for step in range(count):
        angle = math.pi * (step + 0.5) / count
        a, b = math.cos(angle) / radii[0] * math.pi / 2, math.sin(angle) / radii[1] * math.pi / 2
        normals.append((a * math.cos(turn) - b * math.sin(turn), a * math.sin(turn) + b * math.cos(turn)))
    return normals


def _saturated(signal: str, weight: float = 1.0, *, kernel: F64 | None = None) -> tuple[Term, Term]:
    """`signal` held within 0..1, times `weight`; beside it has to be `signal`1, which is less by 1."""
    return (
        Term(signal, weight, read="above", kernel=kernel),
        Term(f"{signal}1", -weight, read="above", kernel=kernel),
    )


def _form(weaver: _Weaver) -> None:
    """Coarse layers: where the body is. `body` is 0 outside and grows inwards, `halo` reaches a little further."""
    weaver.define("4.1", "x", Term("x", style=Style("broad", 0.10)))
    weaver.define("4.1", "y", Term("y", style=Style("tall", 0.08)))
    for lobe, (cx, cy, rx, ry, turn, swing) in LOBES.items():
        for step, (nx, ny) in enumerate(_directions((rx, ry), turn=turn)):
            weaver.define(
                "8.1",
                f"{lobe}{step}",
                Term("x", nx, read="size" if cx else "value", style=Style(f"{lobe} wide", 0.11)),
                Term("y", ny, style=Style(f"{lobe} long", 0.11)),
                _push(f"{lobe} y", 0.08, weight=-ny),
                *([_push(f"{lobe} x", 0.08, weight=-nx)] if cx else []),
                constant=-nx * cx - ny * cy,
            )
        weaver.define("8.1", f"{lobe} size", _push(f"{lobe} size", swing))
        distance = [Term(f"{lobe}{step}", -1 / DIRECTIONS, read="size") for step in range(DIRECTIONS)]
        for signal, edge in ((lobe, 1.1), (f"{lobe} halo", 2.1)):
            weaver.define("16.1", signal, *distance, Term(f"{lobe} size"), Term("p0", 0.07), constant=edge)
    shell = _directions(EGG, count=6)
    weaver.define("4.1", "room x", Term("x"))  # without styles: no latent makes the room larger
    weaver.define("4.1", "room y", Term("y"))
    for step, (nx, ny) in enumerate(shell):
        weaver.define("16.0", f"egg{step}", Term("room x", nx), Term("room y", ny))
    egg = [Term(f"egg{step}", 1 / len(shell), read="size") for step in range(len(shell))]
    weaver.define("16.1", "shell", *egg, constant=-0.68)
    weaver.define("16.1", "wall", *egg, constant=-0.80)

    edge = (Term("shell", -4.0, read="above", kernel=SMOOTH), Term("wall", -40.0, read="above", kernel=SMOOTH))
    weaver.define("32.0", "body", *(Term(lobe, read="above", kernel=SMOOTH) for lobe in LOBES), *edge, positive=True)
    halos = (Term(f"{lobe} halo", 0.9, read="above", kernel=SMOOTH) for lobe in LOBES)
    weaver.define("32.0", "halo", *halos, *edge, positive=True)
    weaver.define("64.0", "body", Term("body", kernel=SMOOTH), positive=True)
    # The halo shines around the body, and adds little to its own light.
    weaver.define("64.0", "halo", Term("halo", kernel=SMOOTH), Term("body", -1.0, kernel=SMOOTH), positive=True)


def _parts(weaver: _Weaver) -> None:
    """Middle layers: segments across the body, veins along it, rings and eyes, each by folding a coordinate."""
    weaver.define("16.0", "u", Term("x", read="size"), positive=True)
    weaver.define(
        "16.1",
        "across",
        Term("y", 1.0, style=Style("segments", 0.25)),
        Term("u", 0.35, style=Style("slope", 1.5)),
        Term("p0", 0.05, style=Style("bend", 0.7)),
        _push("slide", 0.15),
    )
    weaver.define(
        "16.1",
        "along",
        Term("u", 1.0, style=Style("veins", 0.3)),
        Term("y", 0.3, style=Style("fan", 1.2)),
        Term("p1", 0.06, style=Style("bend", 0.7)),
        _push("spread", 0.12),
        constant=-0.3,
    )
    for step, (nx, ny) in enumerate(_directions((0.085, 0.085))):
        weaver.define(
            "32.0",
            f"eye{step}",
            Term("x", nx, read="size"),
            Term("y", ny),
            _push("eye x", 0.03, weight=-nx),
            _push("eye y", 0.06, weight=-ny),
            constant=-nx * 0.14 + ny * 0.36,
        )
    weaver.define(
        "32.1",
        "eye",
        *(Term(f"eye{step}", -1 / DIRECTIONS, read="size") for step in range(DIRECTIONS)),
        _push("eye size", 0.2),
        constant=1.0,
    )
    for signal, reach in (("across", 0.36), ("along", 0.26)):
        weaver.define(
            "32.0",
            signal,
            Term(signal, read="size"),
            _push(f"{signal} 1", 0.04),
            constant=-reach,
        )
        # Beyond the body folds would grow without end: what is over is taken off again.
        weaver.define("32.0", f"{signal} over", Term(signal, read="size"), constant=-2 * reach)
        weaver.define(
            "32.1",
            signal,
            Term(signal, read="size"),
            Term(f"{signal} over", -1.0, read="above"),
            _push(f"{signal} 2", 0.03),
            constant=-reach / 2,
        )
    weaver.define(
        "32.1",
        "ring",
        Term("body", 1.0, style=Style("rings", 0.3)),
        _push("ring", 0.15),
        constant=-0.6,
    )
    # The outline: the band in which the ground goes over into the body, frilled by the segments.
    frill = Style("frill", 0.4, 0.45)
    weaver.define(
        "32.1",
        "outline",
        Term("body", 5.5),
        Term("across", 2.2, style=frill),
        Term("across over", -2.2, read="above", style=frill),
        constant=-0.8,
    )


def _skin(weaver: _Weaver) -> None:
    """Fine layers up to 128 px: texture, and all of it cut off at the body's outline."""
    weaver.define("64.0", "mask", Term("outline", kernel=SMOOTH))
    weaver.define("64.0", "mask1", Term("outline", kernel=SMOOTH), constant=-1.0)
    weaver.define("64.0", "across", Term("across", 8.0, read="size"), constant=-0.75)
    weaver.define("64.0", "along", Term("along", 10.0, read="size"), constant=-0.6)
    weaver.define("64.0", "ring", Term("ring", 4.0, read="size"), constant=-1.0)

    # Where the mask is 1, its 6 and the -6 in each constant cancel; outside, nothing else can reach zero.
    inside = _saturated("mask", 6.0)
    weaver.define("64.1", "segment", Term("across", 1.2), *inside, constant=-6.0)
    weaver.define("64.1", "segment1", Term("across", 1.2), *inside, constant=-6.0 - 1.0)
    weaver.define("64.1", "vein", Term("along", -3.0, read="size"), *inside, constant=-6.0 + 0.8)
    weaver.define(
        "64.1",
        "spot",
        Term("across", 1.1, read="above"),
        Term("along", 1.1, read="above"),
        *inside,
        constant=-6.0 - 0.5,
    )
    weaver.define("64.1", "ring", Term("ring", -2.5, read="size"), *inside, constant=-6.0 + 0.8)
    weaver.define("64.1", "eye", Term("eye", 1.6), *inside, constant=-6.0)
    weaver.define("64.1", "pupil", Term("eye", 3.0), *inside, constant=-6.0 - 1.6)
    weaver.define("64.1", "fore", Term("y", -1.0), *inside, constant=-6.0)
    weaver.define("64.1", "core", Term("body", 0.7), constant=-0.3)
    weaver.define("64.1", "core1", Term("body", 0.7), constant=-0.3 - 1.0)
    weaver.define("64.1", "rim", *_saturated("mask", 2.5, kernel=SMOOTH), constant=-1.4)
    weaver.define("64.1", "mask", *_saturated("mask", 2.5), constant=-0.75)
    weaver.define("64.1", "mask1", *_saturated("mask", 2.5), constant=-0.75 - 1.0)
    weaver.define("64.1", "across", Term("across", read="size"), constant=-0.5)
    weaver.define("64.1", "along", Term("along", read="size"), constant=-0.45)

    weaver.define(
        "128.0",
        "pore",
        Term("across", -2.5, read="size"),
        Term("along", -2.5, read="size"),
        *inside,
        constant=-6.0 + 0.6,
    )
    weaver.define("128.0", "fibre", Term("across", -4.0, read="size"), *inside, constant=-6.0 + 0.6)
    for signal in ("mask", "core"):
        weaver.define("128.0", signal, *_saturated(signal, kernel=SMOOTH), positive=True)
    weaver.define("128.1", "segment", *_saturated("segment"), positive=True)
    weaver.define("128.1", "rim", Term("rim", -1.0, read="size"), constant=1.0, positive=True)
    for signal in ("pore", "fibre", "vein", "spot", "ring", "eye", "pupil", "fore"):
        weaver.define("128.1", signal, Term(signal, read="above"), positive=True)


def _light(weaver: _Weaver) -> None:
    """The colour of everything: its own brightness and tint, and swings along two axes of colour.

    Two hues vary, that of the skin and that of the accents; parts of either keep a fixed turn to it, as in a palette.
    """

    def lit(
        signal: str,
        brightness: float,
        *,
        tint: tuple[float, float] = (0.0, 0.0),
        hue: str = "skin",
        turn: float = 0.0,
        chroma: float = 0.0,
        swing: float = 0.0,
    ) -> None:
        colour = brightness * LUMA + tint[0] * AMBER + tint[1] * ROSE
        if colour.any():
            weaver.colours.append((Term(signal, style=Style(f"{signal} light", swing) if swing else PLAIN), colour))
        axes = AMBER * math.cos(turn) + ROSE * math.sin(turn), ROSE * math.cos(turn) - AMBER * math.sin(turn)
        for name, axis in zip(("amber", "rose"), axes, strict=True):
            if chroma:
                weaver.colours.append((Term(signal, style=Style(f"{hue} {name}", 1.0, mean=0.0)), axis * chroma))

    lit("one", 0.0, chroma=0.025, turn=0.5)
    lit("halo", 0.15, tint=(-0.05, 0.0), swing=0.3)
    lit("mask", 0.52, tint=(-0.13, 0.06), chroma=0.26, swing=0.10)
    lit("core", 0.32, tint=(0.16, 0.0), hue="accent", chroma=0.27, swing=0.2)
    lit("segment", 0.58, tint=(0.10, 0.0), turn=0.9, chroma=0.22, swing=0.25)
    lit("pore", 0.5, tint=(0.1, 0.0), swing=0.5)
    lit("fibre", 0.16, tint=(-0.05, 0.05), swing=0.8)
    lit("vein", 0.48, tint=(0.10, 0.0), hue="accent", turn=0.8, chroma=0.12, swing=0.3)
    lit("spot", 0.12, tint=(0.15, 0.05), hue="accent", turn=-0.6, chroma=0.25, swing=0.3)
    lit("ring", -0.24, swing=0.4)
    lit("rim", 0.35, tint=(-0.05, 0.0), hue="accent", turn=0.4, chroma=0.15, swing=0.3)
    lit("eye", 0.6, tint=(0.1, 0.0), swing=0.2)
    lit("pupil", -1.8)
    lit("fore", 0.0, tint=(0.06, 0.04), turn=-1.2, chroma=0.22)


def main() -> None:
    """Write the embryo."""
    parser = argparse.ArgumentParser(description="Write the embryo, bit for bit as it is in checkpoints/.")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    embryo = checkpoint_of(tensors())
    # Half precision halves the file; the noise of rounding is far below what the eye can see here.
    half = {key: value.astype(np.float16) for key, value in embryo.tensors.items()}
    save(out, family=embryo.family, sizes=embryo.sizes, provenance=embryo.provenance, tensors=half)


if __name__ == "__main__":
    main()
