"""Teach the detector of hits: onset, kick, snare and hat, from made-up music with known onsets.

    python -m performer.teaching.detector SAMPLES --pieces 2200 --minutes 45

SAMPLES is the folder of Sonic Pi's samples (CC0; Debian: `apt install sonic-pi-samples`, then
/usr/share/sonic-pi/samples). The bundled network was made so on two cores, in four stretches of 16, 22, 12 and 34 minutes,
each going on from the one before (`--from`) while the made-up drummers grew more various. Training for a time depends on the
machine, so another run gives another network that is about as good.

A hit is a label in the first hop that has heard half a hop of it, and in the next: that is as early as it can be known. What
kind of drum it was may be said one hop later, when its body is heard. A hit that no band rises at cannot be heard, and is
asked of nobody.

Thread: main, and torch's own.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from performer.audio.front import NARROW_EDGES_HZ, SHORT_HOPS, band_matrix, hop_samples, lopsided_window
from performer.audio.hits import FLOOR_DB, HEARD, NETWORK, NORMAL_S
from performer.flow import F32
from performer.teaching.takes import RATE_HZ, Kit, Piece, piece

SIZE = 48  # units of the recurrent layer
BATCH, HOPS, WARM_HOPS = 64, 300, 30  # pieces and hops of a step; at the beginning of a stretch it is not judged
RATE = 4e-3
HEAVY, SECOND, BEFORE_LAST = 3.0, 0.6, 0.3  # weights: of a hit, of its second hop, and of the hop after
LEAST_RISE_DB = 3.0
DELAY_HOPS = (0, 1, 1, 1)  # of each output
OF_BANDS = (slice(0, 30), slice(0, 5), slice(3, 20), slice(18, 30))  # where each has to rise to be heard


class Network(nn.Module):
    """What `audio.hits.Detector` runs."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(3 * bands, SIZE, batch_first=True)
        self.output = nn.Linear(SIZE + 3 * bands, len(HEARD))

    def forward(self, x: Tensor) -> Tensor:  # [pieces, hops, 3 bands] -> [pieces, hops, 4], logits
        state, _ = self.recurrent(x)
        return self.output(torch.cat([state, x], dim=-1))

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        parts = {name: torch.from_numpy(array) for name, array in load_file(path).items()}
        self.load_state_dict(
            {
                "recurrent.weight_ih_l0": parts["inputs"].T,
                "recurrent.bias_ih_l0": parts["inputs_bias"],
                "recurrent.weight_hh_l0": parts["state"].T,
                "recurrent.bias_hh_l0": parts["state_bias"],
                "output.weight": parts["output"].T,
                "output.bias": parts["output_bias"],
            }
        )

    def save(self, path: Path) -> None:
        """Write it as the detector reads it."""

        def array(weights: Any, *, turned: bool = False) -> F32:
            numbers = weights.detach().numpy().astype(np.float32)
            return np.ascontiguousarray(numbers.T if turned else numbers)

        layer = self.recurrent
        parts = {
            "inputs": array(layer.weight_ih_l0, turned=True),
            "inputs_bias": array(layer.bias_ih_l0),
            "state": array(layer.weight_hh_l0, turned=True),
            "state_bias": array(layer.bias_hh_l0),
            "output": array(self.output.weight, turned=True),
            "output_bias": array(self.output.bias),
        }
        about = "onset, kick, snare and hat; taught by performer.teaching.detector from Sonic Pi's samples (CC0)"
        save_file(parts, path, metadata={"about": about, "licence": "MIT"})


def narrow_db(sound: F32) -> F32:
    """[hops, narrow bands] in dB, as the analyser sees them."""
    hop = hop_samples(RATE_HZ)
    window = SHORT_HOPS * hop
    shape, scale = lopsided_window(window)
    padded = np.concatenate([np.zeros(window - hop, np.float32), sound])
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * shape, axis=1))) * np.float32(scale)
    power[:, 0] = 0.0
    bands = power @ band_matrix(NARROW_EDGES_HZ, rate_hz=RATE_HZ, window=window)
    return (10.0 * np.log10(np.maximum(bands, 10.0 ** (FLOOR_DB / 10)))).astype(np.float32)


def inputs(db: F32) -> np.ndarray:
    """[hops, 3 bands] of [hops, bands]: the rises over one and two hops, and the level beside its slow mean."""

    def before(hops: int) -> F32:
        return np.concatenate([np.full((hops, db.shape[1]), FLOOR_DB, np.float32), db[:-hops]])

    rise = np.clip(db - before(1), -10.0, 30.0) / 10.0
    longer = np.clip(db - np.maximum(before(2), before(3)), -10.0, 30.0) / 10.0
    follow = 1.0 - np.exp(-hop_samples(RATE_HZ) / RATE_HZ / NORMAL_S)
    mean, means = np.full(db.shape[1], -60.0, np.float32), np.empty_like(db)
    for index, now in enumerate(db):
        means[index] = mean
        mean = mean + np.float32(follow) * (now - mean)
    return np.concatenate([rise, longer, np.clip((db - means) / 15.0, -2.0, 4.0)], axis=1).astype(np.float16)


def labels(made: Piece, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([hops, 4] what is to be said, [hops, 4] how much it matters) of a piece whose inputs are `x`."""
    hops, bands, hop = len(x), x.shape[1] // 3, hop_samples(RATE_HZ)
    wanted, weight = np.zeros((hops, len(HEARD)), np.float16), np.ones((hops, len(HEARD)), np.float16)
    rises_db = 10.0 * x[:, bands : 2 * bands].astype(np.float32)
    for column, delay in enumerate(DELAY_HOPS):
        of_bands = np.sort(rises_db[:, OF_BANDS[column]], axis=1)[:, -(4 if column == 0 else 2) :].mean(axis=1)
        for at_s, kind in made.hits:
            at = int((at_s * RATE_HZ + hop / 2) // hop) + delay
            if column not in (0, kind) or at + 2 >= hops:
                continue
            heard = of_bands[max(at - 2, 0) : at + 3].max() >= LEAST_RISE_DB
            early = slice(max(at - 1 - delay, 0), at)
            weight[early, column] = np.where(wanted[early, column] > 0, weight[early, column], 0.0)
            wanted[at : at + 2, column] = 1.0
            weight[at : at + 2, column] = (HEAVY, HEAVY * SECOND) if heard else 0.0
            weight[at + 2, column] = min(weight[at + 2, column], BEFORE_LAST)
    return wanted, weight


def teach(samples: Path, *, pieces: int, minutes: float, out: Path, first: int = 0, source: Path | None = None) -> None:
    """Make so many pieces, train for so long, from `source` on or from nothing, and write the network to `out`."""
    kit = Kit(samples)
    made = []
    for number in range(first, first + pieces):
        each = piece(kit, number)
        x = inputs(narrow_db(each.sound))
        made.append((x, *labels(each, x)))
        if (number - first) % 50 == 49:
            print(f"{number - first + 1} pieces", flush=True)
    x, wanted, weight = (torch.from_numpy(np.stack(parts)) for parts in zip(*made, strict=True))
    torch.manual_seed(0)
    net = Network(x.shape[2] // 3)
    if source is not None:
        net.load(source)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    began_s, step, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began_s) / (60.0 * minutes)) < 1.0:
        for group in optimiser.param_groups:  # a warm start, then a half cosine
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * max(0.02, 0.5 + 0.5 * np.cos(np.pi * done))
        rows, begin = rng.integers(0, len(x), BATCH), int(rng.integers(0, x.shape[1] - HOPS))
        stretch = slice(begin, begin + HOPS)
        logits = net(x[rows, stretch].float())[:, WARM_HOPS:]
        judged = slice(begin + WARM_HOPS, begin + HOPS)
        loss = F.binary_cross_entropy_with_logits(
            logits, wanted[rows, judged].float(), weight=weight[rows, judged].float(), reduction="none"
        )
        loss = loss.mean(dim=(0, 1)).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        step += 1
        if step % 200 == 0:
            print(f"{done:4.0%}  step {step}  loss {mean:.4f}", flush=True)
    net.save(out)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("samples", type=Path, help="the folder of Sonic Pi's samples")
    parser.add_argument("--pieces", type=int, default=2200, help="of 20 s each")
    parser.add_argument("--minutes", type=float, default=45.0, help="to train for")
    parser.add_argument("--first", type=int, default=0, help="number of the first piece")
    parser.add_argument("--from", dest="source", type=Path, default=None, help="a network to go on from")
    parser.add_argument("--out", type=Path, default=NETWORK)
    args = parser.parse_args()
    teach(args.samples, pieces=args.pieces, minutes=args.minutes, out=args.out, first=args.first, source=args.source)


if __name__ == "__main__":
    main()
