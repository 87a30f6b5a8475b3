"""The web server: OSCQuery over HTTP, a WebSocket that carries OSC both ways, and the panel, which is a client of both.

Whoever reaches it may read. To move anything takes the token, where there is one; a page of another site may not even
open the WebSocket. Each client has a place for the newest value of each address, and no queue of values: one that is slow
misses steps in between, and holds up nobody.

Thread: the control process, in its event loop.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from performer.control.preview import Pictures
from performer.control.query import Tree

MOST_CLIENTS = 32
MOST_BYTES = 1 << 16  # of one message, in either direction of HTTP
PANEL = Path(__file__).with_name("panel")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# The page runs its own scripts and no other, is shown in no frame, and talks to nobody but this server.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
OWN = {"Cross-Origin-Resource-Policy": "same-origin", **PLAIN}  # a picture, which any page could show without asking
_REPLIES_KEPT = 1024
_LISTENED = 4096  # addresses of one client


class Client:
    """One WebSocket: a hand, and a listener."""

    def __init__(self, ws: web.WebSocketResponse, *, host: str, source: str, may_write: bool) -> None:
        self.host, self.source, self.may_write = host, source, may_write
        self._ws = ws
        self._listens: set[str] = set()
        self._values: dict[str, bytes] = {}
        self._replies: deque[bytes] = deque(maxlen=_REPLIES_KEPT)
        self._something = asyncio.Event()

    @property
    def addressee(self) -> "Client":
        """Where answers go: here."""
        return self

    def reply(self, datagram: bytes) -> None:
        """Send this, whatever it listens to."""
        self._replies.append(datagram)
        self._something.set()

    def tell(self, address: str, datagram: bytes) -> None:
        """Send the newest value of an address, where it listens to that or to something above it."""
        if self.listens_to(address):
            self._values[address] = datagram
            self._something.set()

    def listens_to(self, address: str) -> bool:
        """Whether it does."""
        if address in self._listens or "/" in self._listens:
            return True
        return any(address[:at] in self._listens for at, char in enumerate(address) if char == "/" and at)

    def listen(self, address: str) -> None:
        """Begin to listen."""
        if len(self._listens) < _LISTENED:
            self._listens.add(address)

    def ignore(self, address: str) -> None:
        """End it."""
        self._listens.discard(address)

    async def write(self) -> None:
        """Send what waits, for as long as the client is there."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await self._something.wait()
                self._something.clear()
                while self._replies:
                    await self._ws.send_bytes(self._replies.popleft())
                waiting, self._values = self._values, {}
                for datagram in waiting.values():  # one message in each frame: clients read no bundles
                    await self._ws.send_bytes(datagram)


class WebServer:
    """Serves until `close`.

    about: what the panel is told beforehand. receive(datagram, client): a client moved something.
    listened(client, address): a client began to listen. left(client): it is gone. pictures: of the preview; whoever owns
    the server has them step.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        about: dict[str, object],
        receive: Callable[[bytes, Client], None],
        listened: Callable[[Client, str], None],
        left: Callable[[Client], None],
        pictures: Pictures,
        token: str = "",
    ) -> None:
        self._tree = tree
        self._about = about
        self._panel = {  # all that there is of it, read once: no path of a request ever reaches a disk
            f"/panel/{file.name}": (file.read_text(encoding="utf-8"), TYPES[file.suffix])
            for file in PANEL.iterdir()
            if file.suffix in TYPES
        }
        self._panel["/panel"] = self._panel["/panel/index.html"]
        self._receive = receive
        self._listened, self._left = listened, left
        self.pictures = pictures
        self._token = token
        self._clients: set[Client] = set()
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[_guarded])
        app.router.add_get("/{path:.*}", self._get)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    @property
    def clients(self) -> set[Client]:
        """Who is connected by WebSocket."""
        return self._clients

    def take(self, tree: Tree, *, about: dict[str, object]) -> None:
        """Tell from now on what an edited setlist says."""
        self._tree, self._about = tree, about

    async def start(self, listener: socket.socket) -> None:
        """Serve on a socket that is bound already."""
        await self._runner.setup()
        await web.SockSite(self._runner, listener, shutdown_timeout=0.5).start()

    async def close(self) -> None:
        """End all connections."""
        self.pictures.close()
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "")
        if given and not self._is_token(given):
            raise web.HTTPForbidden(text="this is not the token of tonight; the one that counts stands in the terminal")
        may_write = not self._token or bool(given)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, may_write=may_write)
        if request.path == "/panel.json":
            return _json(200, json.dumps(self._about | {"may_write": may_write}))
        if request.path == "/preview.jpg":
            return await self._preview(request.query.get("after"))
        path = "/panel" if request.path == "/" and "text/html" in request.headers.get("Accept", "") else request.path
        if path in self._panel:
            text, kind = self._panel[path]
            headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", **PLAIN}
            return web.Response(text=text, content_type=kind, charset="utf-8", headers=headers)
        attributes = [name.upper() for name in request.query if name != "token"]
        status, text = self._tree.answer(request.path, attributes[0] if attributes else "")
        return _json(status, text)

    async def _preview(self, after: str | None) -> web.Response:
        """What the audience sees, as a JPEG; 204 where there is nothing newer than `after` within a second."""
        try:
            seen = int(after) if after else None
        except ValueError:
            raise web.HTTPBadRequest(text=f"after={after!r}; expected the X-Serial of a picture") from None
        found = await self.pictures.jpeg(after=seen)
        if found is None:
            return web.Response(status=204, headers=OWN)
        serial, jpeg = found
        return web.Response(body=jpeg, content_type="image/jpeg", headers={"X-Serial": str(serial), **OWN})

    def _is_token(self, given: str) -> bool:
        return not self._token or hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    async def _socket(self, request: web.Request, *, may_write: bool) -> web.StreamResponse:
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_CLIENTS} clients are connected already")
        ws = web.WebSocketResponse(max_msg_size=MOST_BYTES, heartbeat=20.0, compress=False)
        await ws.prepare(request)
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        host, port = (peer[0], peer[1]) if peer else ("", 0)
        client = Client(ws, host=host, source=f"{host}:{port}", may_write=may_write)
        self._clients.add(client)
        writer = asyncio.create_task(client.write())
        try:
            async for each in ws:
                if each.type is WSMsgType.BINARY:
                    self._receive(each.data, client)
                elif each.type is WSMsgType.TEXT:
                    self._command(each.data, client)
        finally:
            self._clients.discard(client)
            self._left(client)
            writer.cancel()
        return ws

    def _command(self, text: str, client: Client) -> None:
        """LISTEN and IGNORE; anything else is nobody's business."""
        try:
            asked: Any = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(asked, dict) or not isinstance(asked.get("DATA"), str):
            return
        address = "/" + asked["DATA"].strip("/")
        if asked.get("COMMAND") == "LISTEN" and address in self._tree:
            client.listen(address)
            self._listened(client, address)
        elif asked.get("COMMAND") == "IGNORE":
            client.ignore(address)


@web.middleware
async def _guarded(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
    """Refuse what a page of another site sends through somebody's browser.

    Such a page has its own origin, or a name of its own that it has pointed at this machine.
    """
    host = request.host.rpartition("]:")[0] + "]" if "]:" in request.host else request.host.partition(":")[0]
    if not _is_ours(host):
        raise web.HTTPForbidden(text=f"{request.host!r} is not a name of this machine")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        raise web.HTTPForbidden(text="a page of another site may not reach the show")
    # What a page of another site embeds comes without an origin; browsers say so all the same. A link to here is followed.
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.headers.get("Sec-Fetch-Mode") != "navigate":
        raise web.HTTPForbidden(text="a page of another site may not reach the show")
    return await handler(request)


def _json(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text or None, content_type="application/json", headers=PLAIN)


def _is_ours(host: str) -> bool:
    """Whether a Host header names this machine: an address, or a name that nobody else can point elsewhere."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.strip("[]"))
        return True
    own = socket.gethostname().lower()
    return host.lower() in ("localhost", own, f"{own}.local")
