"""Limits on wrong passwords: per client, and in total.

A client is an IPv4 address, or an IPv6 network of 64 bits, which is what one host or site has. The limits bound the
memory too: a refused attempt is not stored.
"""

import ipaddress
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from training.errors import ConfigError

PER_CLIENT, TOTAL, WINDOW_S = 10, 100, 60.0
MAX_KNOWN = 256
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

Network = IPv4Network | IPv6Network
T = TypeVar("T")


class TooManyAttempts(Exception):
    """A client has to wait before it may try another password. wait_s: whole seconds."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many wrong passwords; wait {wait_s} s")
        self.wait_s = wait_s


@dataclass(slots=True, eq=False)
class Attempts:
    """The wrong passwords of the last `window_s` seconds.

    per_client: wrong passwords that a client may give in that time.
    total: wrong passwords of all clients in that time, after which only clients that gave a right one before may try.
    clock: returns seconds.
    """

    per_client: int = PER_CLIENT
    total: int = TOTAL
    window_s: float = WINDOW_S
    clock: Callable[[], float] = time.monotonic
    _wrong: deque[tuple[float, str]] = field(default_factory=deque)
    _known: dict[str, None] = field(default_factory=dict)  # the client that was right last is at the end
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, client: str, verify: Callable[[], T | None]) -> T | None:
        """Return `verify()`, and count the attempt as a wrong one if that is None.

        Raises TooManyAttempts, without a call of `verify`, for a client over a limit. A right password resets nothing:
        whoever has one could otherwise guess the other for ever.
        """
        with self._lock:
            now = self.clock()
            while self._wrong and self._wrong[0][0] <= now - self.window_s:
                self._wrong.popleft()
            own = [at for at, who in self._wrong if who == client]
            # the attempts that have to leave the window before the next one
            over = [own[-self.per_client]] if len(own) >= self.per_client else []
            if len(self._wrong) >= self.total and client not in self._known:
                over.append(self._wrong[-self.total][0])
            if over:
                raise TooManyAttempts(math.ceil(max(over) + self.window_s - now))
            found = verify()
            if found is None:
                self._wrong.append((now, client))
            else:
                self._known.pop(client, None)
                self._known[client] = None
                if len(self._known) > MAX_KNOWN:
                    del self._known[next(iter(self._known))]
            return found


def client_of(peer: str, forwarded: str, proxies: Iterable[Network]) -> str:
    """Return the client of a request: an IPv4 address or an IPv6 network, as text.

    peer: the address at the other end of the connection.
    forwarded: the header X-Forwarded-For, "" if there is none. It is read from its end, as long as the address is one
    of `proxies`: each proxy appends the address that it was asked from, and the client may claim any before it.
    """
    proxies = tuple(proxies)
    address = _address(peer)
    for text in reversed(forwarded.split(",")[-8:]):
        if address is None or not any(address in proxy for proxy in proxies):
            break
        claimed = _address(text.strip().strip("[]"))
        if claimed is None:
            break
        address = claimed
    if address is None:
        return peer
    return str(IPv6Network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def parse_proxies(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of trusted proxies: the loopback addresses, and `texts`.

    Raises ConfigError for a text that is no address or network.
    """
    try:
        return (*LOOPBACK, *(ipaddress.ip_network(text) for text in texts))
    except ValueError as error:
        raise ConfigError(f"--trusted-proxy: {error}; write an address such as 172.18.0.1, or 172.18.0.0/16") from error


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # without the interface of a link-local address
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
