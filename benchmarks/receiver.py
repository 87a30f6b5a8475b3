"""What the OSC receiver loses, how late it is, and what a stream costs the show.

    python -m benchmarks.receiver --seconds 60 --json receiver.json

Control alone, first: a stream as TouchDesigner sends it, each channel a datagram, all of them sixty times a second, with
presses of a button among them. Every value is the time at which it was sent, so its latency is known where it arrives:
from before the send to the call of `Hands.drain` that returned it. The reader looks some 1,500 times a second, which
costs it a part of a core and each value a third of a millisecond. Then bursts of messages back to back, with presses
among them too.

Then a show that plays, with a stream of 100 channels to knobs of its own in every second slice, so that frames with and
without are compared in one run.

Thread: main; what is sent comes from processes of its own.
"""

import argparse
import contextlib
import multiprocessing
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import frame_budget, report, rig
from performer.audio.source import SourceSpec
from performer.control.hands import Hands
from performer.control.osc import float_message, int_message
from performer.params import Param, ParamTable, base_params

STREAM_HZ = 60
CHANNELS = (32, 100)  # as the research's table of other receivers has them
PRESS_EVERY = 6  # ticks of the stream: down in one, up in the next
BURST, BURSTS, BURST_PRESS_EVERY = 5000, 10, 50
LOOK_S = 0.0005  # between two looks of the reader; a frame of a show is fifty times as long
SLICE_S = 5.0
PATIENCE_S = 10.0
TABLE = ParamTable(
    (
        *base_params(),
        *(Param(id=f"stream.{n}", high=1e9, help="when it was sent, in milliseconds") for n in range(max(CHANNELS))),
    )
)


def stream(port: int, channels: int, seconds: float, epoch_s: float, sent: Any) -> None:
    """Entry point of a sender: what TouchDesigner sends. sent: [messages, presses], counted when it is done."""
    encoders = [float_message(f"/perf/stream/{n}") for n in range(channels)]
    button = int_message("/perf/cue/go")
    messages = presses = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        start_s = time.monotonic()
        for tick in range(round(seconds * STREAM_HZ)):
            pressed_at = tick * 7 % channels if tick % PRESS_EVERY < 2 else -1
            for channel, encoder in enumerate(encoders):
                if channel == pressed_at:
                    is_down = tick % PRESS_EVERY == 0
                    out.send(button(is_down))
                    presses += is_down
                    messages += 1
                out.send(encoder(1e3 * (time.monotonic() - epoch_s)))
            messages += channels
            time.sleep(max(start_s + (tick + 1) / STREAM_HZ - time.monotonic(), 0))
    sent[:] = messages, presses


def burst(port: int, sent: Any, began_s: Any) -> None:
    """Entry point of a sender: `BURST` messages as fast as they go. sent: [messages, presses]. began_s: when."""
    encoders = [float_message(f"/perf/stream/{n}") for n in range(max(CHANNELS))]
    button = int_message("/perf/cue/go")
    datagrams, presses = [], 0
    for count in range(BURST):
        if count % BURST_PRESS_EVERY < 2:
            datagrams.append(button(count % BURST_PRESS_EVERY == 0))
            presses += count % BURST_PRESS_EVERY == 0
        else:
            datagrams.append(encoders[count % len(encoders)](count))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        began_s.value = time.monotonic()
        for datagram in datagrams:
            out.send(datagram)
    sent[:] = BURST, presses


class Reader:
    """Looks at the hands at short intervals, as a very fast show would, and keeps what it saw."""

    def __init__(self, hands: Hands, *, epoch_s: float) -> None:
        self._hands, self._epoch_s = hands, epoch_s
        self.late_ms: list[float] = []
        self.presses = 0
        self.looks = 0
        self.newest_s = 0.0  # when something was there

    def look(self) -> None:
        """Take what has arrived, then wait."""
        events = self._hands.drain()
        now_s = time.monotonic()
        now_ms = 1e3 * (now_s - self._epoch_s)
        self.looks += 1
        if events:
            self.newest_s = now_s
        for event in events:
            if event.param == "cue.go":
                self.presses += 1
            elif event.param.startswith("stream."):
                self.late_ms.append(now_ms - event.value)
        time.sleep(LOOK_S)

    def until_received(self, wanted: int) -> int:
        """Look until so many have been received, or no more come; how many were."""
        end_s = time.monotonic() + PATIENCE_S
        while (received := self._hands.status().received) < wanted and time.monotonic() < end_s:
            self.look()
        self.look()
        return received


@contextlib.contextmanager
def hands_alone(epoch_s: float) -> Any:
    """A control process that serves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hands = Hands(table=TABLE, host="127.0.0.1", port=port, epoch_s=epoch_s)
    hands.start()
    try:
        end_s = time.monotonic() + PATIENCE_S
        while not hands.status().buffer_bytes:
            assert time.monotonic() < end_s, "the control process does not start"
            time.sleep(0.01)
        yield hands
    finally:
        hands.close()


def streamed(channels: int, seconds: float) -> dict[str, Any]:
    """The stream, at control alone."""
    spawn, epoch_s = multiprocessing.get_context("spawn"), time.monotonic()
    with hands_alone(epoch_s) as hands:
        reader, sent = Reader(hands, epoch_s=epoch_s), spawn.Array("q", 2, lock=False)
        sender = spawn.Process(target=stream, args=(hands.port, channels, seconds, epoch_s, sent), daemon=True)
        control = psutil.Process(hands.child_pid)
        sender.start()
        while not hands.status().received and sender.is_alive():
            reader.look()
        began_s, before = time.monotonic(), control.cpu_times()
        while sender.is_alive():
            reader.look()
        after, elapsed_s = control.cpu_times(), time.monotonic() - began_s
        messages, presses = sent
        received = reader.until_received(messages)
        levels = messages - 2 * presses
        return {
            "sent": messages,
            "lost": messages - received,
            "presses sent, seen": [presses, reader.presses],
            "late_ms p50, p95, p99, max": _rounded(reader.late_ms, 50, 95, 99, 100),
            "overwritten before the reader looked": levels - len(reader.late_ms),
            "refused, held": [hands.status().refused, hands.status().held],
            "looks_hz": round(reader.looks / elapsed_s),
            "control_cpu_s in 3 s": round(3 * (sum(after[:2]) - sum(before[:2])) / elapsed_s, 2),
        }


def burst_upon() -> dict[str, Any]:
    """Bursts, at control alone."""
    spawn, epoch_s = multiprocessing.get_context("spawn"), time.monotonic()
    sent_all = received_before = presses_sent = 0
    lost, took_ms = [], []
    with hands_alone(epoch_s) as hands:
        reader, sent = Reader(hands, epoch_s=epoch_s), spawn.Array("q", 2, lock=False)
        began_s = spawn.Value("d", 0.0)
        for _ in range(BURSTS):
            sender = spawn.Process(target=burst, args=(hands.port, sent, began_s), daemon=True)
            sender.start()
            while sender.is_alive():
                reader.look()
            messages, presses = sent
            sent_all, presses_sent = sent_all + messages, presses_sent + presses
            received = reader.until_received(received_before + messages)
            took_ms.append(1e3 * (reader.newest_s - began_s.value))
            lost.append(received_before + messages - received)
            received_before = received
        return {
            "messages": BURST,
            "bursts": BURSTS,
            "lost": lost,
            "presses sent, seen": [presses_sent, reader.presses],
            "all seen after, ms": round(float(np.median(took_ms)), 1),
            "buffer_bytes granted": hands.status().buffer_bytes,
        }


def shown(seconds: float, *, size: str, fps: float, warm_up_s: float) -> dict[str, Any]:
    """A show, with the stream in every second slice."""
    spawn = multiprocessing.get_context("spawn")
    source = SourceSpec(kind="file", path=str(rig.MUSIC), audible=False)
    with tempfile.TemporaryDirectory() as folder:
        setlist = frame_budget._with_idle_routes("metamorphosis", Path(folder))
        with rig.show_of(str(setlist), size_px=rig.parsed_size(size), audio=source, headless=True, fps=fps) as show:
            is_on, sent = spawn.Value("i", 0), spawn.Value("q", 0)
            last = spawn.Array("d", frame_budget.ADDRESSES, lock=False)
            arguments = (show.hands.port, frame_budget.ADDRESSES * STREAM_HZ, is_on, sent, last)
            sender = spawn.Process(target=frame_budget.flood, args=arguments, daemon=True)
            sender.start()
            show.run(seconds=warm_up_s)
            slices: dict[bool, list[float]] = {False: [], True: []}
            for number in range(2 * max(round(seconds / SLICE_S / 2), 1)):
                is_on.value = number % 2
                show.frame_intervals_s = slices[bool(number % 2)]
                show.run(seconds=SLICE_S)
            is_on.value = 0
            show.frame_intervals_s = None
            show.run(seconds=0.5)
            is_on.value = -1
            without, with_it = ([1e3 * each for each in slices[is_flooded]] for is_flooded in (False, True))
            return {
                "sent, lost": [sent.value, sent.value - show.hands.status().received],
                "wrong last values": frame_budget._wrong(show, last),
                "frame_ms p50, p99 without": _rounded(without, 50, 99),
                "frame_ms p50, p99 with": _rounded(with_it, 50, 99),
                "p99 ratio": round(float(np.percentile(with_it, 99) / np.percentile(without, 99)), 2),
                "fps": show.fps,
                "frames without, with": [len(without), len(with_it)],
            }


def _rounded(values: list[float], *percents: int) -> list[float]:
    return [round(float(each), 2) for each in np.percentile(values, percents)] if values else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the stream of 100 channels, and of the show")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds of the show that are not counted")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=30.0, help="of the show; named, so that its pace stays what it is")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    few, many = CHANNELS
    figures: dict[str, Any] = {
        f"{few} channels": streamed(few, options.seconds / 4),
        f"{many} channels": streamed(many, options.seconds),
        "burst": burst_upon(),
        "show": shown(options.seconds, size=options.size, fps=options.fps, warm_up_s=options.warm_up),
        "machine": context,
        "commit": report.commit(),
    }
    report.publish("receiver", figures, path=options.json)


if __name__ == "__main__":
    main()
