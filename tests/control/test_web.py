"""OSCQuery: the tree over HTTP, OSC over a WebSocket, found by zeroconf; the preview; and who may not come in."""

import asyncio
import io
import json
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from PIL import Image as Pillow
from pythonosc.osc_message import OscMessage
from pythonoscquery.osc_query_client import OSCQueryClient
from zeroconf import Zeroconf

from performer.audio.features import feature_names
from performer.audio.wire import empty_record, features_dtype
from performer.control import wire
from performer.control.discovery import OSC, OSCQUERY
from performer.control.hands import Hands
from performer.control.query import Leaf, Tree, host_info, param_leaves
from performer.exchange import SharedLatest
from performer.params import Kind, ParamTable, base_params
from performer.refusal import Refused
from tests.control.test_hands import Peer, events_until, free_port, state
from tests.control.test_osc import message
from tests.show.program import free_tcp_port

TABLE = ParamTable(base_params())
TOKEN = "tonight"


def served(*, name: str = "performer: Test", **more) -> Hands:
    features = SharedLatest(features_dtype(1))
    record = empty_record(1)
    record["values"][0, 0, feature_names().index("bass.level")] = 0.625
    features.publish(record)
    made = Hands(
        table=TABLE, host="127.0.0.1", port=free_port(), http_port=free_tcp_port(), epoch_s=time.monotonic(),
        features=[(features, (0,))], feature_names=feature_names(), voices=["mix"], cues=[("1", "egg"), ("2", "wing")],
        name=name, **more,
    )  # fmt: skip
    made.publish(state())
    made.start()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", made.http_port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    return made


@pytest.fixture(scope="module")
def hands():
    made = served()
    yield made
    made.close()


@pytest.fixture(scope="module")
def guarded():
    made = served(token=TOKEN)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _drained(request):
    """What one test moved is not left for the next."""
    yield
    for name in ("hands", "guarded"):
        if name in request.fixturenames:
            request.getfixturevalue(name).drain()


def url(hands: Hands, path: str = "/", *, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{hands.http_port}{path}"


def fetched(hands: Hands, path: str, **headers: str):
    """(status, what the JSON says) of GET."""
    request = urllib.request.Request(url(hands, path), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("application/json")
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# The tree


def test_every_parameter_is_listed_with_its_type_range_and_value(hands):
    status, root = fetched(hands, "/")
    assert status == 200
    assert (root["FULL_PATH"], root["ACCESS"]) == ("/", 0)
    for param in TABLE.params:
        node = root
        for name in TABLE.address(param).strip("/").split("/"):
            node = node["CONTENTS"][name]
        assert node["FULL_PATH"] == TABLE.address(param)
        assert param.help in node["DESCRIPTION"]
        if param.kind in (Kind.FLOAT, Kind.INT):
            assert node["TYPE"] == ("f" if param.kind is Kind.FLOAT else "i")
            assert node["ACCESS"] == 3
            assert node["RANGE"] == [{"MIN": param.low, "MAX": param.high}]
            assert node["CLIPMODE"] == ["both"]
            assert node["VALUE"] == [pytest.approx(param.default, rel=1e-6)]
        elif param.kind is Kind.BOOL:
            assert (node["TYPE"], node["VALUE"]) == (("T", [True]) if param.default else ("F", [False]))
        else:
            assert node["TYPE"] == ("I" if param.kind is Kind.TRIGGER else "s")
            assert (node["ACCESS"], node["CRITICAL"]) == (2, True)
            assert "VALUE" not in node


def test_what_is_heard_and_how_the_show_is_can_be_read(hands):
    assert fetched(hands, "/perf/audio/mix/bass/level?VALUE") == (200, {"VALUE": [0.625]})
    assert fetched(hands, "/perf/cue/current?VALUE") == (200, {"VALUE": ["1"]})
    assert fetched(hands, "/perf/cue/name?VALUE") == (200, {"VALUE": ["egg"]})
    assert fetched(hands, "/perf/transport/phase?VALUE") == (200, {"VALUE": [0.5]})
    assert fetched(hands, "/perf/sys/fps")[1]["ACCESS"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/perf/macro/1", 200),
        ("/perf/macro/", 200),
        ("/perf/nobody", 404),
        ("/perf/macro/1?VALUE", 200),
        ("/perf/macro/1?value", 200),
        ("/perf/macro?VALUE", 204),
        ("/perf/cue/go?RANGE", 204),
        ("/perf/macro/1?COLOUR", 400),
        ("/perf/nobody?VALUE", 404),
        ("/../../etc/passwd", 404),
        ("/perf/%2e%2e/x", 404),
    ],
)
def test_answers_have_the_status_that_the_proposal_asks_for(hands, path, status):
    assert fetched(hands, path)[0] == status


def test_the_host_tells_where_its_osc_is(hands):
    for path in ("/?HOST_INFO", "/perf/macro?HOST_INFO", "?HOST_INFO"):
        status, info = fetched(hands, path)
        assert status == 200
        assert (info["NAME"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == ("performer: Test", hands.port, "UDP")
        assert info["EXTENSIONS"]["LISTEN"] is True


def test_an_empty_tree_and_a_leaf_above_leaves():
    tree = Tree([Leaf("/a", "f", 1), Leaf("/a/b", "f", 1)], value_of=lambda address: 0.5, host_info={})
    node = json.loads(tree.answer("/a")[1])
    assert node["VALUE"] == [0.5]
    assert node["CONTENTS"]["b"]["VALUE"] == [0.5]
    assert (
        json.loads(Tree([], value_of=float, host_info=host_info(name="x", osc_port=0)).answer("/")[1])["CONTENTS"] == {}
    )
    assert len(param_leaves(TABLE, prefix="/x")) == len(TABLE)


# The WebSocket


async def heard(ws, until, *, seconds: float = 5.0) -> dict[str, list]:
    """What arrives, one OSC message in each binary frame, until it is enough."""
    got: dict[str, list] = {}
    end = time.monotonic() + seconds
    while not until(got):
        each = await ws.receive(timeout=max(end - time.monotonic(), 0.01))
        assert each.type is WSMsgType.BINARY, each
        parsed = OscMessage(each.data)
        got.setdefault(parsed.address, []).append(parsed.params[0] if parsed.params else None)
    return got


async def connected(session: ClientSession, hands: Hands, path: str = "/", **headers: str):
    return await session.ws_connect(url(hands, path, scheme="ws"), headers=headers)


def listen(address: str, command: str = "LISTEN") -> str:
    return json.dumps({"COMMAND": command, "DATA": address})


def test_chataignes_sequence(hands):
    """HOST_INFO, the tree, a WebSocket, LISTEN for each value; each frame is one message."""

    async def play() -> None:
        async with ClientSession() as session:
            async with session.get(url(hands, "?HOST_INFO")) as answer:
                info = await answer.json()
            async with session.get(url(hands, "/")) as answer:
                tree = await answer.json()
            assert info["EXTENSIONS"]["LISTEN"] and tree["CONTENTS"]["perf"]
            ws = await connected(session, hands)
            for address in ("/perf/macro/1", "/perf/out/freeze", "/perf/cue/name", "/perf/audio/mix/bass/level"):
                await ws.send_str(listen(address))
            got = await heard(ws, lambda got: len(got) == 4)
            assert got["/perf/out/freeze"] == [False]
            assert got["/perf/cue/name"] == ["egg"]
            assert got["/perf/audio/mix/bass/level"] == [0.625]
            values = TABLE.defaults()
            values[TABLE.row("macro.1")], values[TABLE.row("out.freeze")] = 0.75, 1.0
            hands.publish(state(values=values))
            got = await heard(ws, lambda got: len(got) == 2)
            assert got == {"/perf/macro/1": [0.75], "/perf/out/freeze": [True]}
            await ws.send_str(listen("/perf/macro/1", "IGNORE"))
            await ws.send_str(listen("/perf/macro/2"))
            await heard(ws, lambda got: "/perf/macro/2" in got)
            values[TABLE.row("macro.1")] = values[TABLE.row("macro.2")] = 0.25
            hands.publish(state(values=values))
            assert "/perf/macro/1" not in await heard(ws, lambda got: "/perf/macro/2" in got)
            await ws.close()
        hands.publish(state())

    asyncio.run(play())


def test_frames_move_knobs_and_press_and_the_sender_is_not_told(hands):
    async def play() -> None:
        async with ClientSession() as session:
            ws, other = await connected(session, hands), await connected(session, hands)
            for each in (ws, other):
                await each.send_str(listen("/perf/macro"))
                await heard(each, lambda got: len(got) == 8)
            await ws.send_bytes(message("/perf/macro/3", 0.5))
            await ws.send_bytes(message("/perf/cue/go"))
            await asyncio.to_thread(events_until, hands, lambda events: len(events) == 2)
            values = TABLE.defaults()
            values[TABLE.row("macro.3")] = 0.5
            hands.publish(state(values=values))
            await heard(other, lambda got: 0.5 in got.get("/perf/macro/3", ()))
            await ws.send_bytes(message("/perf/sys/ping"))
            await ws.send_bytes(message("/perf/macro/3", "?"))
            got = await heard(ws, lambda got: "/perf/macro/3" in got)
            assert got["/perf/macro/3"] == [0.5]  # because it asked
            assert "/perf/sys/pong" in got
        hands.publish(state())

    asyncio.run(play())


def test_what_comes_by_udp_reaches_who_listens_by_websocket(hands):
    async def play() -> None:
        peer = Peer(hands)
        async with ClientSession() as session:
            ws = await connected(session, hands)
            await ws.send_str(listen("/"))
            await heard(ws, lambda got: "/perf/macro/8" in got)
            peer.send("/perf/macro/8", 1.0)
            values = TABLE.defaults()
            values[TABLE.row("macro.8")] = 1.0
            await asyncio.to_thread(events_until, hands, bool)
            hands.publish(state(values=values))
            got = await heard(ws, lambda got: 1.0 in got.get("/perf/macro/8", ()))
            assert "/perf/macro/1" not in got  # only what changed
        peer.socket.close()
        hands.publish(state())

    asyncio.run(play())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"COMMAND": "LISTEN"}', '{"COMMAND": "LISTEN", "DATA": 7}', '{"DATA": "/perf"}',
             '{"COMMAND": "FORMAT", "DATA": "/perf"}', "[" * 30000]
)  # fmt: skip
def test_commands_that_make_no_sense_are_ignored(hands, text):
    async def play() -> None:
        async with ClientSession() as session:
            ws = await connected(session, hands)
            await ws.send_str(text)
            await ws.send_bytes(b"junk")
            await ws.send_str(listen("/perf/macro/1"))
            await heard(ws, lambda got: "/perf/macro/1" in got)

    asyncio.run(play())


def test_a_client_that_reads_nothing_holds_up_nobody(hands):
    """It listens to everything and never reads: the others are served, and the process stays small."""
    import psutil

    async def play() -> None:
        process = psutil.Process(hands.child_pid)
        async with ClientSession() as session:
            deaf, ws = await connected(session, hands), await connected(session, hands)
            await deaf.send_str(listen("/"))
            await ws.send_str(listen("/perf/macro/1"))
            await heard(ws, bool)
            before = process.memory_info().rss
            values = TABLE.defaults()
            rng = np.random.default_rng(0)
            for step in range(90):
                values[:] = rng.random(len(values))
                values[TABLE.row("macro.1")] = step / 90
                hands.publish(state(values=values))
                await asyncio.sleep(1 / 60)
            got = await heard(
                ws, lambda got: pytest.approx(89 / 90, abs=1e-4) in got["/perf/macro/1"] if got else False
            )
            assert len(got["/perf/macro/1"]) > 20
            assert process.memory_info().rss - before < 8 << 20
        hands.publish(state())

    asyncio.run(play())


# Who may come in


async def refused(session: ClientSession, hands: Hands, path: str = "/", **headers: str) -> int:
    with pytest.raises(WSServerHandshakeError) as error:
        await connected(session, hands, path, **headers)
    return error.value.status


def test_without_the_token_one_may_read_and_not_move(guarded):
    async def play() -> None:
        async with ClientSession() as session:
            ws = await connected(session, guarded)
            await ws.send_str(listen("/perf/macro/1"))
            await heard(ws, bool)
            await ws.send_bytes(message("/perf/macro/1", 0.5))
            await ws.send_bytes(message("/perf/macro/1", "?"))
            got = await heard(ws, lambda got: "/perf/macro/1" in got)
            assert got["/perf/macro/1"] == [0.0]
            assert got["/perf/sys/refused"] == ["came without the token, so it may only listen"]
            assert guarded.drain() == []
            ws = await connected(session, guarded, f"/?token={TOKEN}")
            await ws.send_bytes(message("/perf/macro/1", 0.5))
            events = await asyncio.to_thread(events_until, guarded, bool)
            assert [(event.param, event.value) for event in events] == [("macro.1", 0.5)]

    asyncio.run(play())
    assert fetched(guarded, "/perf/macro/1")[0] == 200
    assert fetched(guarded, f"/perf/macro/1?VALUE&token={TOKEN}")[1] == {"VALUE": [0.0]}


@pytest.mark.parametrize("token", ["wrong", "tonight2", "tönight", "x" * 5000])
def test_a_wrong_token_is_refused(guarded, token):
    async def play() -> None:
        async with ClientSession() as session:
            assert await refused(session, guarded, f"/?token={token}") == 403

    asyncio.run(play())
    assert fetched(guarded, f"/?token={urllib.request.quote(token)}")[0] == 403


def test_pages_of_other_sites_are_refused(hands):
    async def play() -> None:
        async with ClientSession() as session:
            for origin in ("http://evil.example", "null", f"https://127.0.0.1:{hands.http_port}", "http://127.0.0.1"):
                assert await refused(session, hands, Origin=origin) == 403
            assert await refused(session, hands, Host="evil.example") == 403  # a name that points here by a trick
            ws = await connected(session, hands, Origin=url(hands, "").rstrip("/"))
            await ws.close()

    asyncio.run(play())
    assert fetched(hands, "/", Origin="http://evil.example")[0] == 403
    assert fetched(hands, "/", Host="evil.example")[0] == 403
    assert fetched(hands, "/", Host=f"localhost:{hands.http_port}")[0] == 200
    assert fetched(hands, "/", Host="[::1]:80")[0] == 200
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}  # a link on another page
    assert fetched(hands, "/", **followed)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_large_body_is_refused(hands, method):
    request = urllib.request.Request(url(hands, "/perf/macro/1"), data=bytes(10 << 20), method=method)
    with pytest.raises((urllib.error.URLError, ConnectionError)) as error:
        urllib.request.urlopen(request, timeout=5)
    assert getattr(error.value, "code", 405) == 405
    assert fetched(hands, "/perf/macro/1")[0] == 200


def test_a_frame_that_is_too_large_ends_the_connection_and_nothing_else(hands):
    async def play() -> None:
        async with ClientSession() as session:
            ws = await connected(session, hands)
            await ws.send_bytes(bytes(1 << 20))
            each = await ws.receive(timeout=5)
            assert each.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)

    asyncio.run(play())
    assert fetched(hands, "/")[0] == 200


def test_there_are_so_many_clients_and_no_more(hands):
    async def play() -> None:
        async with ClientSession() as session:
            sockets = []
            with pytest.raises(WSServerHandshakeError) as error:
                for _ in range(100):
                    sockets.append(await connected(session, hands))
            assert error.value.status == 503
            assert len(sockets) == 32
            for each in sockets:
                await each.close()

    asyncio.run(play())


def test_a_port_in_use_is_refused_and_gives_the_other_back():
    osc_port, http_port = free_port(), free_tcp_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", http_port))
        taken.listen()
        with pytest.raises(Refused, match=rf"HTTP port {http_port}.*--http-port {http_port + 1}"):
            Hands(table=TABLE, host="127.0.0.1", port=osc_port, http_port=http_port, epoch_s=0.0)
    Hands(table=TABLE, host="127.0.0.1", port=osc_port, epoch_s=0.0).close()


def test_a_killed_process_serves_again(hands):
    import os
    import signal

    os.kill(hands.child_pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while hands.status().restarts == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert fetched(hands, "/perf/macro/1")[0] == 200  # the connection waited in the socket, which is the parent's


# The preview


def shown(hands: Hands, serial: int, *, colour: tuple[int, int, int] = (200, 30, 90), ago_s: float = 0.0) -> np.ndarray:
    """Show a picture, as the render process does: [40, 64, 3], a colour above black."""
    record = np.zeros(1, wire.PICTURE)
    record["serial"], record["at_s"] = serial, time.monotonic() - hands._job.epoch_s - ago_s
    record["width_px"], record["height_px"] = 64, 40
    record["pixels"][0, :20, :64] = *colour, 77
    hands.pictures.publish(record)
    return record["pixels"][0, :40, :64, :3]


def looked(hands: Hands, path: str = "/preview.jpg", **headers: str):
    """(status, headers, body) of GET."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url(hands, path), headers=headers), timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_newest_picture_is_a_jpeg(hands):
    for serial, colour in ((7, (200, 30, 90)), (9, (10, 220, 60))):
        pixels = shown(hands, serial, colour=colour)
        status, headers, body = looked(hands)
        assert (status, headers["Content-Type"], headers["X-Serial"]) == (200, "image/jpeg", str(serial))
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        seen = Pillow.open(io.BytesIO(body))
        assert (seen.format, seen.mode, seen.size) == ("JPEG", "RGB", (64, 40))
        # Blocks of one colour keep it to a few levels; the block that the edge goes through rings.
        off = np.abs(np.asarray(seen).astype(int) - pixels)
        assert off[:16].max() <= 5 and off[32:].max() <= 5
    assert looked(hands, "/preview.jpg?after=7")[1]["X-Serial"] == "9"
    assert looked(hands, "/preview.jpg?after=")[1]["X-Serial"] == "9"
    assert looked(hands, "/preview.jpg?after=12345")[1]["X-Serial"] == "9", "the show was started again meanwhile"


def test_who_has_seen_the_newest_waits_for_the_next(hands):
    async def play() -> None:
        async with ClientSession() as session:

            async def look(after: int) -> tuple[int, str, bytes]:
                async with session.get(url(hands, f"/preview.jpg?after={after}")) as answer:
                    return answer.status, answer.headers.get("X-Serial", ""), await answer.read()

            shown(hands, 20)
            before = hands.watched_s()
            waiting = [asyncio.create_task(look(20)) for _ in range(40)]
            async with asyncio.timeout(10):
                while hands.watched_s() == before:
                    await asyncio.sleep(0.01)
            async with session.get(url(hands, "/perf/macro/1?VALUE")) as answer:
                await answer.read()  # a whole round, in which an answer would have come
            assert not any(each.done() for each in waiting)
            shown(hands, 21)
            answers = await asyncio.gather(*waiting)
            assert {(status, serial) for status, serial, _ in answers} == {(200, "21")}
            assert len({body for _, _, body in answers}) == 1

    asyncio.run(play())


def test_without_a_picture_of_now_the_answer_is_empty(hands):
    shown(hands, 30, ago_s=60.0)  # nobody has watched since then
    for path in ("/preview.jpg", "/preview.jpg?after=29"):
        status, headers, body = looked(hands, path)
        assert (status, body, headers["X-Serial"], headers["Cache-Control"]) == (204, b"", None, "no-store")
    shown(hands, 31)
    assert looked(hands, "/preview.jpg?after=31")[0] == 204
    fresh = served()
    try:
        assert looked(fresh)[0] == 204, "there was never one"
    finally:
        fresh.close()


def test_to_ask_is_to_watch(hands):
    shown(hands, 40)
    began_s = time.monotonic() - hands._job.epoch_s
    assert looked(hands, "/perf/macro/1")[0] == 200
    assert not hands.watched_s() > began_s
    assert looked(hands)[0] == 200
    assert hands.watched_s() > began_s


@pytest.mark.parametrize("after", ["x", "1.5", "1e9", "9" * 5000, "%00"])
def test_an_after_that_is_no_number_is_refused(hands, after):
    assert looked(hands, f"/preview.jpg?after={after}")[0] == 400


def test_the_preview_is_guarded_as_everything_is(guarded):
    shown(guarded, 50)
    before = guarded.watched_s()
    for path, headers in (
        ("/preview.jpg", {"Origin": "http://evil.example"}),
        ("/preview.jpg", {"Origin": "null"}),
        ("/preview.jpg", {"Host": "evil.example"}),
        ("/preview.jpg", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),  # a picture in another's page
        ("/preview.jpg?token=wrong", {}),
    ):
        status, _, body = looked(guarded, path, **headers)
        assert status == 403 and b"JFIF" not in body
    assert guarded.watched_s() == before, "they have not made the show draw one either"
    assert looked(guarded)[0] == 200, "to look takes no token"
    shown(guarded, 51)
    assert looked(guarded, f"/preview.jpg?after=50&token={TOKEN}", Origin=url(guarded, ""))[0] == 200


def test_a_server_that_closes_leaves_nobody_waiting():
    async def play() -> list[object]:
        async with ClientSession() as session:

            async def look() -> int:
                async with session.get(url(hands, "/preview.jpg?after=1")) as answer:
                    return answer.status

            waiting = [asyncio.create_task(look()) for _ in range(20)]
            async with asyncio.timeout(10):
                while hands.watched_s() == float("-inf"):
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(hands.close)
            return await asyncio.gather(*waiting, return_exceptions=True)

    hands = served()
    answers = asyncio.run(play())
    assert answers == [204] * 20
    assert hands._process.exitcode == 0, "it ended by itself"


def test_another_process_goes_on_with_the_pictures(hands):
    import os
    import signal

    shown(hands, 60)
    assert looked(hands)[1]["X-Serial"] == "60"
    before, restarts = hands.watched_s(), hands.status().restarts
    os.kill(hands.child_pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while hands.status().restarts == restarts and time.monotonic() < end:
        time.sleep(0.02)
    for attempt in range(200):  # the connection waits in the parent's socket, while the picture ages
        shown(hands, 61 + attempt)
        status, headers, _ = looked(hands, "/preview.jpg?after=60")
        if status == 200:
            break
    assert int(headers["X-Serial"]) > 60
    assert hands.watched_s() > before


# Found


def test_the_show_is_found_by_zeroconf_and_read_by_a_program_that_is_not_ours():
    name = f"found {time.time():.0f}"
    hands, zeroconf = served(name=name), Zeroconf(interfaces=["127.0.0.1"])
    try:
        for kind, port in ((OSCQUERY, hands.http_port), (OSC, hands.port)):
            info = zeroconf.get_service_info(kind, f"{name}.{kind}", timeout=8000)
            assert info is not None
            if kind == OSCQUERY:
                outside = OSCQueryClient(info)
            assert (info.port, info.parsed_addresses()) == (port, ["127.0.0.1"])
        assert outside.get_host_info().osc_port == hands.port
        node = outside.query_node("/perf/transport/bpm")
        assert (node.full_path, node.value, node.access.value) == ("/perf/transport/bpm", [120.0], 3)
        assert len(outside.query_node("/perf/macro").contents) == 8
    finally:
        zeroconf.close()
        hands.close()
