"""Discovery: programs on the network find the show by themselves, by zeroconf (mDNS).

Thread: the control process, in its event loop. A network without multicast is no fault: then nobody finds it, and whoever
knows the address connects all the same.
"""

import asyncio
import contextlib
import ipaddress
import socket

import psutil
import segno
from zeroconf import InterfaceChoice, IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

OSCQUERY, OSC = "_oscjson._tcp.local.", "_osc._udp.local."


class Announcement:
    """Tells the network where the show is, from `start` to `close`."""

    def __init__(self, name: str, *, listener: socket.socket, osc_port: int) -> None:
        self._name = name.replace(".", " ")[:40] or "performer"
        host, self._port = listener.getsockname()[:2]
        self._is_local = ipaddress.ip_address(host).is_loopback
        self._osc_port = osc_port
        self._zeroconf: AsyncZeroconf | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        with contextlib.suppress(Exception):  # whatever the network is like, the show goes on
            interfaces = ["127.0.0.1"] if self._is_local else InterfaceChoice.All
            self._zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
            for kind, port in ((OSCQUERY, self._port), (OSC, self._osc_port)):
                if port:
                    await self._zeroconf.async_register_service(self._info(kind, port), allow_name_change=True)

    def _info(self, kind: str, port: int) -> AsyncServiceInfo:
        addresses = ["127.0.0.1"] if self._is_local else own_addresses()
        return AsyncServiceInfo(
            kind,
            f"{self._name}.{kind}",
            port=port,
            parsed_addresses=addresses,
            server=f"{socket.gethostname().partition('.')[0]}-performer-{self._port}.local.",
        )

    async def close(self) -> None:
        """Take it back."""
        if self._task is not None:
            self._task.cancel()
        if self._zeroconf is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._zeroconf.async_close(), timeout=1.0)


def own_addresses() -> list[str]:
    """The IPv4 addresses by which others reach this machine; its loopback where it has no other."""
    found = [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family == socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback
    ]
    return found or ["127.0.0.1"]


def pictured(url: str) -> list[str]:
    """A QR code as lines of text, two rows of it in each, light where the terminal is dark."""
    rows = [[bool(dark) for dark in row] for row in segno.make(url, error="l", micro=False).matrix_iter(border=2)]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    halves = {(True, True): " ", (True, False): "\u2584", (False, True): "\u2580", (False, False): "\u2588"}
    return ["".join(halves[pair] for pair in zip(*two, strict=True)) for two in zip(rows[::2], rows[1::2], strict=True)]
