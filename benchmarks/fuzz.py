"""Whatever arrives on the control ports: no crash, no leak, and the show at its rate.

    python -m benchmarks.fuzz --count 1000000 --json fuzz.json

A running show is sent random and mutated datagrams, HTTP requests and WebSocket frames, in every second slice of twenty
seconds, until so many have been sent; frames with and without are compared in one run. Counted are restarts of the control
process, its memory before and after, and whether it still answers and obeys at the end.

Thread: main; what is sent comes from a process of its own.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from aiohttp import ClientError, ClientSession, ClientTimeout

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.control.osc import message

SLICE_S = 20.0
FIXTURES = Path(__file__).resolve().parents[1] / "tests/data/osc_fixtures.jsonl"
UDP_HZ, FRAME_HZ, HTTP_HZ = 9000, 3000, 300
ADDRESSES = (
    "/perf/macro/1",
    "/perf/latent/truncation",
    "/perf/cue/goto",
    "/perf/macro/*",
    "/perf/sys/learn",
    "/perf/sys/sync",
    "/perf/sys/binds",
    "/perf/sys/unbind",
    "/perf/sys/take",
    "/perf/sys/route/add",
    "/perf/sys/route/set",
    "/perf/sys/route/remove",
    "/perf/sys/route/undo",
    "/perf/sys/routes",
    "/perf/transport/bpm/norm",
    "/clock",
    "/live/song/get/beat",
    "/perf/clock/beat",
    "/perf/[a-z]*/{x,y}",
    "/",
)


def datagrams(rng: random.Random) -> Iterator[bytes]:
    """Without end: other programs' packets, ours with arguments of all kinds, and noise; most of them damaged."""
    known = [bytes.fromhex(json.loads(line)["hex"]) for line in FIXTURES.open()]
    while True:
        kind = rng.random()
        if kind < 0.15:
            packet = rng.randbytes(rng.randrange(200))
        elif kind < 0.5:
            packet = rng.choice(known)
        else:
            args = [
                rng.choice(
                    (
                        rng.uniform(-1e3, 1e3),
                        "+",
                        "?",
                        "macro.1",
                        "kick",
                        "amount",
                        "mix.bass.level",
                        "\u00e4" * 9,
                        "../../x",
                    )
                )
                for _ in range(rng.randrange(4))
            ]
            packet = message(rng.choice(ADDRESSES), args)
        damaged = bytearray(packet)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 8))):
            if damaged:
                at = rng.randrange(len(damaged))
                damaged[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        yield bytes(damaged[: rng.randrange(len(damaged) + 1)] if rng.random() < 0.1 else damaged)


def requests(rng: random.Random) -> Iterator[bytes]:
    """Without end: HTTP as it should be, and as it should not."""
    while True:
        path = rng.choice(
            (
                "/",
                "/perf",
                "/perf/macro/1?VALUE",
                "/?HOST_INFO",
                "/preview.jpg?after=x",
                "/%2e%2e/etc",
                "/" + "x" * rng.randrange(9000),
            )
        )
        method = rng.choice(("GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "BREW"))
        host = rng.choice(("127.0.0.1", "localhost", "evil.example", ""))
        more = rng.choice(
            ("", "Upgrade: websocket\r\n", "Content-Length: 99999999\r\n", "Origin: http://evil.example\r\n")
        )
        text = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n".encode()
        yield (
            rng.randbytes(rng.randrange(300))
            if rng.random() < 0.2
            else text[: rng.choice((len(text), rng.randrange(len(text))))]
        )


def send(osc_port: int, http_port: int, is_on: Any, sent: Any) -> None:
    """Entry point of the sender: everything at once, while `is_on`; negative ends it."""

    async def udp() -> None:
        source, target = datagrams(random.Random(1)), ("127.0.0.1", osc_port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while is_on.value >= 0:
                for _ in range(UDP_HZ // 60 if is_on.value else 0):
                    out.sendto(next(source), target)
                    sent[0] += 1
                await asyncio.sleep(1 / 60)

    async def frames() -> None:
        source, rng = datagrams(random.Random(2)), random.Random(3)
        while is_on.value >= 0:
            with contextlib.suppress(ClientError, ConnectionError, OSError):
                async with ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{http_port}/") as ws:
                    while is_on.value >= 0 and not ws.closed and rng.random() > 0.002:
                        for _ in range(FRAME_HZ // 60 if is_on.value else 0):
                            if rng.random() < 0.2:
                                listen = json.dumps({"COMMAND": "LISTEN", "DATA": rng.choice(ADDRESSES)})
                                await ws.send_str(listen[: rng.choice((len(listen), rng.randrange(len(listen))))])
                            else:
                                await ws.send_bytes(next(source))
                            sent[1] += 1
                        with contextlib.suppress(TimeoutError):
                            while rng.random() < 0.9:  # sometimes it does not read
                                await ws.receive(timeout=0.001)
                        await asyncio.sleep(1 / 60)
            await asyncio.sleep(0.05)

    async def http() -> None:
        source = requests(random.Random(4))
        while is_on.value >= 0:
            if is_on.value:
                with contextlib.suppress(OSError, TimeoutError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
                    writer.write(next(source))
                    sent[2] += 1
                    with contextlib.suppress(OSError, TimeoutError):
                        await asyncio.wait_for(reader.read(4096), 0.02)
                    writer.close()
            await asyncio.sleep(1 / HTTP_HZ)

    async def everything() -> None:
        await asyncio.gather(udp(), frames(), http())

    asyncio.run(everything())


async def answers(http_port: int) -> bool:
    """Whether the show still answers."""
    url = f"http://127.0.0.1:{http_port}/perf/macro/1?VALUE"
    async with ClientSession(timeout=ClientTimeout(5)) as session, session.get(url) as answer:
        return answer.status == 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="datagrams, frames and requests together")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    source = SourceSpec(kind="file", path=str(rig.MUSIC), audible=False)
    size_px = rig.parsed_size(options.size)
    with rig.show_of("metamorphosis", size_px=size_px, audio=source, headless=True, http=True) as show:
        spawn = multiprocessing.get_context("spawn")
        is_on, sent = spawn.Value("i", 0), spawn.Array("q", 3, lock=False)
        arguments = (show.hands.port, show.hands.http_port, is_on, sent)
        sender = spawn.Process(target=send, args=arguments, daemon=True)
        sender.start()
        show.run(seconds=8.0)
        control = psutil.Process(show.hands.child_pid)
        rss_mb = [report.rss_mb(control)]
        slices: dict[bool, list[float]] = {False: [], True: []}
        is_fuzzed = False
        while sum(sent) < options.count:
            is_on.value = int(is_fuzzed)
            show.frame_intervals_s = slices[is_fuzzed]
            show.run(seconds=SLICE_S)
            rss_mb.append(report.rss_mb(control) if show.hands.status().restarts == 0 else float("nan"))
            is_fuzzed = not is_fuzzed
        is_on.value = -1
        show.run(seconds=2.0)
        status = show.hands.status()
        figures: dict[str, Any] = {
            "datagrams, frames, requests": list(sent),
            "restarts": status.restarts,
            "answers": asyncio.run(answers(show.hands.http_port)),
            "received, refused": [status.received, status.refused],
            "control_rss_mb": [round(each, 1) for each in rss_mb],
            "frame_ms_calm": report.percentiles((1e3 * each for each in slices[False]), 50, 95, 99),
            "frame_ms_fuzzed": report.percentiles((1e3 * each for each in slices[True]), 50, 95, 99),
            "p99_ratio": round(float(np.percentile(slices[True], 99) / np.percentile(slices[False], 99)), 2),
            "images": show.images,
            "machine": context,
            "commit": report.commit(),
        }
    report.publish("fuzz", figures, path=options.json)


if __name__ == "__main__":
    main()
