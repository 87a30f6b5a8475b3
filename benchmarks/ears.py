"""How well the ear hears, beside its rivals: onsets, beats, tempo; and how soon.

    python -m benchmarks.ears --data DIR --rivals .venv-rivals/bin/python --json ears.json

DIR holds `annotations.json`, a list of {"file", "beats": [s], "onsets": [s], "tempo"}, and the files it names; a file
without onsets counts for beats alone. Every rival runs in a process of its own, by `benchmarks/rivals.py`, in the
interpreter that `--rivals` names; without it in `.venv-rivals`, which `make rivals` makes, or `.venv-rivals-NAME` for
the systems whose names begin so, as `--rivals NAME=PYTHON` has it too. A rival that cannot run is a reason in the JSON
and the table, not an end.

What the figures mean:

- onset_f, onset_precision, onset_recall: mir_eval, a window of 50 ms, the mean over the files.
- onset_latency_ms: from the true onset to the end of the block of samples after which the system said so. Of the
  processor's time nothing is in it, so that it is the same on every machine.
- onset_offset_ms: from the true onset to where the system put it.
- beat_f, beat_cmlt, beat_amlt: mir_eval, of which the first 5 s are not counted, as usual. All but the ceiling are
  causal: a beat counts as the system had it when it came. `beat_f_ahead_100ms` is of beats told 100 ms beforehand.
- beat_heard_ms: from the true beat to the block after which it was reported.
- tempo_acc1, tempo_acc2: files whose tempo over the second half is within 4 %; the second also allows 2, 3, 1/2, 1/3.
- lock_s: from when on four true beats running were right, to 17.5 % of a beat, with no other beat between; lock_aml_s
  also allows twice and half the tempo and the beat between. Null where never; `lock_never` counts those files.
- cpu_percent: of one core, to keep up.

Thread: main; the rivals are processes of their own.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

import performer
from benchmarks import report, rivals
from performer.audio.analyser import analyse
from performer.flow import AudioEventKind

ONSET_WINDOW_S = 0.05
BEAT_WINDOW_S = 0.07  # mir_eval's own for its F-measure
AHEAD_S = 0.1
TEMPO_TOLERANCE = 0.04
BEAT_TOLERANCE = 0.175  # of a period; mir_eval's for continuity
LOCK_BEATS = 4
LEAST_GAP = 0.25  # of a period: nearer to the last beat, a second crossing is the phase being put right
CEILING = "librosa_offline"
DRUMS = ("groove", "loop_")  # how the names of the files begin that are drums, or have drums in front
TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Truth:
    """One annotated file."""

    name: str
    path: Path
    duration_s: float
    onsets_s: np.ndarray  # empty where nobody wrote them down
    beats_s: np.ndarray
    bpm: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a system made of one file; None is what it has no notion of. Events are [n, 2]: at_s, known_s."""

    cpu_s: float
    onsets: np.ndarray | None = None
    beats: np.ndarray | None = None
    beats_ahead: np.ndarray | None = None
    bpm: float | None = None


def events_of(pairs: Sequence[Sequence[float]]) -> np.ndarray:
    """[n, 2] in order of at_s."""
    array = np.array(pairs, float).reshape(-1, 2)
    return array[np.argsort(array[:, 0], kind="stable")]


def crossings(centre_s: np.ndarray, beat: np.ndarray, bpm: np.ndarray, *, ahead_s: float) -> np.ndarray:
    """Beats of a running phase, as it was known at each hop for `ahead_s` later: [n, 2] of at_s, known_s.

    A beat is where the phase passes a whole number going up; a jump over several of them is one beat.
    """
    phase = beat + ahead_s * bpm / 60.0
    whole = np.floor(phase)
    rose = (whole[1:] > whole[:-1]) & (bpm[1:] > 0) & (bpm[:-1] > 0)
    beats: list[tuple[float, float]] = []
    for hop in np.flatnonzero(rose) + 1:
        share = (whole[hop] - phase[hop - 1]) / (phase[hop] - phase[hop - 1])
        at_s = centre_s[hop - 1] + share * (centre_s[hop] - centre_s[hop - 1]) + ahead_s
        if not beats or at_s - beats[-1][0] >= LEAST_GAP * 60.0 / bpm[hop]:
            beats.append((at_s, centre_s[hop]))
    return events_of(beats)


def settled_bpm(bpm: np.ndarray, confidence: np.ndarray) -> float:
    """The median tempo of the second half, every hop with the weight of its confidence; 0 where it had none."""
    later, weight = bpm[len(bpm) // 2 :], confidence[len(bpm) // 2 :] * (bpm[len(bpm) // 2 :] > 0)
    if not weight.sum() > 0:
        return 0.0
    order = np.argsort(later)
    total = np.cumsum(weight[order])
    return float(later[order][np.searchsorted(total, total[-1] / 2)])


def onset_scores(true_s: np.ndarray, onsets: np.ndarray) -> dict[str, Any]:
    """F-measure and its parts, and the lists of latencies and offsets of those that matched."""
    at_s, known_s = onsets[:, 0], onsets[:, 1]
    f, precision, recall = mir_eval.onset.f_measure(true_s, at_s, window=ONSET_WINDOW_S)
    pairs = mir_eval.util.match_events(true_s, at_s, ONSET_WINDOW_S)
    return {
        "onset_f": f,
        "onset_precision": precision,
        "onset_recall": recall,
        "latencies_ms": [(known_s[heard] - true_s[true]) * 1e3 for true, heard in pairs],
        "offsets_ms": [(at_s[heard] - true_s[true]) * 1e3 for true, heard in pairs],
    }


def beat_scores(true_s: np.ndarray, beats: np.ndarray) -> dict[str, Any]:
    """F-measure, continuity, how long it took to be right, and how long after each beat it was known."""
    at_s = beats[:, 0]
    counted_s = mir_eval.beat.trim_beats(true_s)
    later = beats[at_s >= 5.0]
    _, cmlt, _, amlt = mir_eval.beat.continuity(counted_s, later[:, 0])
    pairs = mir_eval.util.match_events(counted_s, later[:, 0], BEAT_WINDOW_S)
    return {
        "beat_f": beat_f(true_s, beats),
        "beat_cmlt": cmlt,
        "beat_amlt": amlt,
        "lock_s": lock_s(true_s, at_s),
        "lock_aml_s": min(lock_s(reading_s, at_s) for reading_s in readings(true_s)),
        "heard_ms": [(later[heard, 1] - counted_s[true]) * 1e3 for true, heard in pairs],
    }


def beat_f(true_s: np.ndarray, beats: np.ndarray) -> float:
    """mir_eval's F-measure without the first 5 s."""
    trim = mir_eval.beat.trim_beats
    return mir_eval.beat.f_measure(trim(true_s), trim(beats[:, 0]), f_measure_threshold=BEAT_WINDOW_S)


def readings(beats_s: np.ndarray) -> list[np.ndarray]:
    """The readings of the beat that AML allows: as it is, between, twice as fast, and half as fast from either."""
    twice_s = np.interp(np.arange(0, len(beats_s) - 0.5, 0.5), np.arange(len(beats_s)), beats_s)
    return [beats_s, twice_s[1::2], twice_s, beats_s[::2], beats_s[1::2]]


def lock_s(true_s: np.ndarray, at_s: np.ndarray) -> float:
    """The true beat from which on `LOCK_BEATS` were right, with no other beat between them; inf where never."""
    if len(at_s) == 0 or len(true_s) < 2:
        return math.inf
    period_s = np.append(np.diff(true_s), true_s[-1] - true_s[-2])
    nearest = np.abs(at_s[None, :] - true_s[:, None]).argmin(axis=1)
    right = np.abs(at_s[nearest] - true_s) <= BEAT_TOLERANCE * period_s
    follows = np.diff(nearest) == 1
    for first in range(len(true_s) - LOCK_BEATS + 1):
        if right[first : first + LOCK_BEATS].all() and follows[first : first + LOCK_BEATS - 1].all():
            return float(true_s[first])
    return math.inf


def tempo_right(true_bpm: float, bpm: float, *, factors: Sequence[float] = (1,)) -> bool:
    """Whether the tempo is right to 4 %, or is so many times the right one."""
    return any(abs(bpm - factor * true_bpm) <= TEMPO_TOLERANCE * factor * true_bpm for factor in factors)


def scores(truths: Sequence[Truth], heard: Sequence[Heard]) -> dict[str, Any]:
    """All figures of one system, over the files and of each."""
    per_file: dict[str, dict[str, Any]] = {}
    for truth, each in zip(truths, heard, strict=True):
        found: dict[str, Any] = {"cpu_percent": 100.0 * each.cpu_s / truth.duration_s}
        if each.onsets is not None and len(truth.onsets_s):
            found |= onset_scores(truth.onsets_s, each.onsets)
        if each.beats is not None:
            found |= beat_scores(truth.beats_s, each.beats)
        if each.beats_ahead is not None:
            found["beat_f_ahead_100ms"] = beat_f(truth.beats_s, each.beats_ahead)
        if each.bpm is not None:
            found["bpm"], found["bpm_true"] = each.bpm, truth.bpm
            found["tempo_acc1"] = float(tempo_right(truth.bpm, each.bpm))
            found["tempo_acc2"] = float(tempo_right(truth.bpm, each.bpm, factors=(1, 2, 3, 1 / 2, 1 / 3)))
        per_file[truth.name] = found
    drums = [found for name, found in per_file.items() if name.startswith(DRUMS)]
    everywhere = list(per_file.values())
    latencies_ms, offsets_ms, heard_ms = (
        np.array([value for found in everywhere for value in found.get(key, ())])
        for key in ("latencies_ms", "offsets_ms", "heard_ms")
    )
    locks, locks_aml = _gathered(everywhere, "lock_s"), _gathered(everywhere, "lock_aml_s")
    figures = {
        key: _mean(everywhere, key)
        for key in (
            *("onset_f", "onset_precision", "onset_recall"),
            *("beat_f", "beat_f_ahead_100ms", "beat_cmlt", "beat_amlt", "tempo_acc1", "tempo_acc2"),
        )
    }
    figures |= {
        "tempo_acc2_drums": _mean(drums, "tempo_acc2"),
        "onset_latency_ms_p50": _percentile(latencies_ms, 50),
        "onset_latency_ms_p95": _percentile(latencies_ms, 95),
        "onset_offset_ms_p50": _percentile(offsets_ms, 50),
        "beat_heard_ms_p50": _percentile(heard_ms, 50),
        "lock_s_median": _median(locks),
        "lock_s_max": _most(locks),
        "lock_never": sum(math.isinf(each_s) for each_s in locks) if locks else None,
        "lock_aml_s_median": _median(locks_aml),
        "lock_aml_s_max": _most(locks_aml),
        "lock_aml_never": sum(math.isinf(each_s) for each_s in locks_aml) if locks_aml else None,
        "cpu_percent": 100.0 * sum(each.cpu_s for each in heard) / sum(truth.duration_s for truth in truths),
    }
    for found in everywhere:
        for name, key in (("onset_latency_ms", "latencies_ms"), ("onset_offset_ms", "offsets_ms")):
            values = np.array(found.pop(key, ()))
            found[f"{name}_p50"], found[f"{name}_p95"] = _percentile(values, 50), _percentile(values, 95)
        found["beat_heard_ms_p50"] = _percentile(np.array(found.pop("heard_ms", ())), 50)
    rounded = {name: {key: _rounded(value) for key, value in found.items()} for name, found in per_file.items()}
    return {key: _rounded(value) for key, value in figures.items()} | {"per_file": rounded}


def _gathered(found: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [each[key] for each in found if key in each]


def _mean(found: Sequence[dict[str, Any]], key: str) -> float | None:
    values = _gathered(found, key)
    return float(np.mean(values)) if values else None


def _percentile(values: np.ndarray, percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values.size and not np.isnan(values).any() else None


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None  # the later one of two: half of the files are within it


def _most(values: Sequence[float]) -> float | None:
    return max(values) if values else None


def _rounded(value: Any) -> Any:
    """Four decimals; what never came is null, for JSON has no infinity."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def heard_by_performer(truth: Truth) -> Heard:
    """What our own ear makes of a file."""
    sound, rate_hz = soundfile.read(truth.path, dtype="float32", always_2d=True)
    begun_s = time.process_time()
    analysis = analyse(sound, rate_hz)
    cpu_s = time.process_time() - begun_s
    onsets = [
        (event.at_s, heard_s)
        for event, heard_s in zip(analysis.events, analysis.heard_s, strict=True)
        if event.kind == AudioEventKind.ONSET
    ]
    phase = (analysis.centre_s, analysis.beat, analysis.bpm)
    return Heard(
        cpu_s=cpu_s,
        onsets=events_of(onsets),
        beats=crossings(*phase, ahead_s=0.0),
        beats_ahead=crossings(*phase, ahead_s=AHEAD_S),
        bpm=settled_bpm(analysis.bpm, analysis.confidence),
    )


def heard_by_rival(answer: dict[str, Any]) -> Heard:
    """What a rival answered about one file."""
    onsets, beats = (events_of(answer[key]) if key in answer else None for key in ("onsets", "beats"))
    bpm = answer.get("bpm")
    if bpm is None and beats is not None:
        later = beats[len(beats) // 2 :, 0]
        bpm = 60.0 / float(np.median(np.diff(later))) if len(later) > 1 else 0.0
    return Heard(cpu_s=answer["cpu_s"], onsets=onsets, beats=beats, bpm=bpm)


def rival_figures(name: str, *, python: str, truths: Sequence[Truth], timeout_s: float) -> dict[str, Any]:
    """Figures of the best variant of a rival, or {"reason": why there are none}."""
    with tempfile.TemporaryDirectory() as folder:
        answers_path = Path(folder) / "answers.json"
        command = [
            python,
            "-I",
            str(Path(rivals.__file__)),
            name,
            *(str(t.path) for t in truths),
            "--json",
            str(answers_path),
        ]
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            done = subprocess.run(command, env=os.environ | alone, timeout=timeout_s, capture_output=True, text=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"reason": str(error)}
        if done.returncode:
            said = done.stderr.strip().splitlines()
            return {"reason": said[-1] if said else f"ended with {done.returncode}"}
        about = json.loads(answers_path.read_text())
    tried = {
        variant: scores(truths, [heard_by_rival(answers[str(truth.path)]) for truth in truths])
        for variant, answers in about["answers"].items()
    }
    measure = "onset_f" if next(iter(tried.values()))["onset_f"] is not None else "beat_f"
    best = max(tried, key=lambda variant: tried[variant][measure])
    return {
        "version": about["version"],
        "licence": about["licence"],
        "variant": best,
        "variants": {variant: _rounded(figures[measure]) for variant, figures in tried.items()},
        **tried[best],
    }


def truths_in(folder: Path) -> list[Truth]:
    """The annotated files of a folder."""
    return [
        Truth(
            name=Path(each["file"]).stem,
            path=(folder / each["file"]).resolve(),
            duration_s=each["duration"],
            onsets_s=np.array(each["onsets"], float),
            beats_s=np.array(each["beats"], float),
            bpm=each["tempo"],
        )
        for each in json.loads((folder / "annotations.json").read_text())
    ]


def python_for(system: str, named: Sequence[str], *, root: Path = report.ROOT) -> str:
    """The interpreter that a system runs in: the one named for it, or for all, or made for it, or for all; or ours."""
    chosen = dict(text.rpartition("=")[::2] for text in named)
    family = system.partition("_")[0]
    for name in chosen:
        if name and system.startswith(name):
            return chosen[name]
    made = [root / folder / "bin" / "python" for folder in (f".venv-rivals-{family}", ".venv-rivals")]
    return chosen.get("") or next((str(python) for python in made if python.exists()), sys.executable)


COLUMNS = {
    "onset F": "onset_f",
    "P": "onset_precision",
    "R": "onset_recall",
    "known ms p50": "onset_latency_ms_p50",
    "p95": "onset_latency_ms_p95",
    "off ms": "onset_offset_ms_p50",
    "beat F": "beat_f",
    "100 ms ahead": "beat_f_ahead_100ms",
    "CMLt": "beat_cmlt",
    "AMLt": "beat_amlt",
    "heard ms": "beat_heard_ms_p50",
    "tempo 1": "tempo_acc1",
    "tempo 2": "tempo_acc2",
    "lock s": "lock_s_median",
    "AML": "lock_aml_s_median",
    "CPU %": "cpu_percent",
}


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print the table, and which systems did not run."""
    table = Table(title="ears")
    table.add_column("", no_wrap=True)
    for title in COLUMNS:
        table.add_column(title, justify="right")
    for system, found in figures.items():
        if "reason" not in found:
            table.add_row(system, *(_cell(key, found[key]) for key in COLUMNS.values()))
    console = Console(soft_wrap=True, highlight=False, width=200)
    console.print(table)
    for system, found in figures.items():
        if "reason" in found:
            console.print(f"{system} did not run: {found['reason']}", markup=False)
        else:
            console.print(f"{system}: {found['version']}, {found['licence']}, {found['variant']}", markup=False)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if key == "cpu_percent" or "_ms_p" in key or key.startswith("lock") else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rivals", action="append", default=[], metavar="[NAME=]PYTHON")
    parser.add_argument("--systems", nargs="+", choices=["performer", *rivals.SYSTEMS], default=None)
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds that each rival may take")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = {"machine": report.machine(), "commit": report.commit()}
    truths = truths_in(options.data)
    figures: dict[str, dict[str, Any]] = {}
    for system in options.systems or ["performer", *rivals.SYSTEMS]:
        print(system, file=sys.stderr)
        if system == "performer":
            ours = {"version": f"performer {performer.__version__}", "licence": "MIT", "variant": ""}
            figures[system] = ours | scores(truths, [heard_by_performer(truth) for truth in truths])
        else:
            python = python_for(system, options.rivals)
            figures[system] = rival_figures(system, python=python, truths=truths, timeout_s=options.timeout)
    if options.systems is None:
        figures |= {system: {"reason": reason} for system, reason in rivals.NOT_TO_BE_HAD.items()}
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(context | figures, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
