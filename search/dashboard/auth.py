"""Who may do what in the dashboard: nobody without a password but on this machine, and nothing for foreign pages.

HTTP Basic and no login page: every browser, proxy and script knows it, and there is no session to steal, sign or
expire. The password says the role, whatever the user name. It goes over the wire as it is, so that beyond one
machine TLS belongs in front (docs/guide/dashboard.md).
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from training.errors import ConfigError

FULL, READ = "DRIVEBEAT_DASHBOARD_PASSWORD", "DRIVEBEAT_DASHBOARD_READ_PASSWORD"
LEAST_LENGTH = 8
READING = frozenset({"GET", "HEAD"})
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)

Role = Literal["full", "read"]


@dataclass(frozen=True, slots=True)
class Passwords:
    """What opens the door, by role; neither is shown in a repr or told in an error."""

    full: str | None = field(default=None, repr=False)
    read: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for role in ("full", "read"):
            password = getattr(self, role)
            if password is not None and len(password) < LEAST_LENGTH:
                raise ConfigError(
                    f"the dashboard's password for {role} has {len(password)} characters; at least {LEAST_LENGTH} are "
                    "needed, such as: openssl rand -base64 18"
                )
        if self.full is not None and self.full == self.read:
            raise ConfigError("the dashboard's passwords for full and read are the same; choose two")

    @property
    def any(self) -> bool:
        return self.full is not None or self.read is not None

    def role_of(self, password: str) -> Role | None:
        """The role that `password` opens, in a time that does not tell how much of it was right."""
        full, read = _same(password, self.full), _same(password, self.read)
        return "full" if full else "read" if read else None


def _same(given: str, wanted: str | None) -> bool:
    # digests are equally long, so that not even the length shows
    digests = [hashlib.sha256((text or "").encode()).digest() for text in (given, wanted)]
    return hmac.compare_digest(*digests) and wanted is not None


def find_passwords(file: Path | None, environment: Mapping[str, str] = os.environ) -> Passwords:
    """From the file, else from the environment. The file has a line `full: ...`, a line `read: ...`, or both.

    Raises ConfigError, without the passwords, for a file that cannot be read or says something else.
    """
    if file is None:
        return Passwords(environment.get(FULL) or None, environment.get(READ) or None)
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--password-file {file}: {reason}; write a line 'full: PASSWORD' into it") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        role, colon, password = line.partition(":")
        role = role.strip()
        if not colon or role not in ("full", "read") or role in found or not password.strip():
            raise ConfigError(
                f"--password-file {file}, line {number}: it must be 'full: PASSWORD' or 'read: PASSWORD', each once"
            )
        found[role] = password.strip()
    if not found:
        raise ConfigError(f"--password-file {file}: it is empty; write a line 'full: PASSWORD' into it")
    return Passwords(**found)


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address) is this machine alone, as far as its name tells."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_open(host: str, passwords: Passwords) -> None:
    """Raise ConfigError where the dashboard would be open to others than this machine."""
    if not is_loopback(host) and not passwords.any:
        raise ConfigError(
            f"--host {host}: others than this machine could delete studies; give a password: --password-file FILE (a "
            f"line 'full: ...' or 'read: ...'), or {FULL} or {READ} in the environment"
        )


def behind_door(application: WSGIApplication, passwords: Passwords) -> WSGIApplication:
    """`application` for those who may.

    With passwords every request needs one (401), and the role `read` cannot change anything (403). Without, the
    request must name this machine (a page that points its own name at 127.0.0.1 is refused). Either way a
    foreign page changes nothing (403): browsers say where a request comes from by Sec-Fetch-Site, older ones and
    plain HTTP by Origin. X-Forwarded-Host counts as our name, for no page can set it.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = _refusal(environ, passwords)
        if refusal is not None:
            status, words = refusal
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(words.encode()) + 1))]
            if status.startswith("401"):
                headers.append(("WWW-Authenticate", 'Basic realm="Drivebeat", charset="UTF-8"'))
            start_response(status, [*headers, ("Cache-Control", "no-store"), *HEADERS])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [f"{words}\n".encode()]
        environ.pop("HTTP_AUTHORIZATION", None)  # nobody behind the door needs it
        return application(environ, _with_headers(start_response))

    return answer


def _with_headers(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *HEADERS])

    return start


def _refusal(environ: WSGIEnvironment, passwords: Passwords) -> tuple[str, str] | None:
    """Status and reason, where the request is refused."""
    if passwords.any:
        role = passwords.role_of(_password(environ.get("HTTP_AUTHORIZATION", "")))
        if role is None:
            return "401 Unauthorized", "a password is needed; any user name will do"
    else:
        role = "full"
        host = _name(environ.get("HTTP_HOST", ""))
        if host is None or not is_loopback(host):
            return "403 Forbidden", (
                "without a password the dashboard answers to 127.0.0.1, [::1] and localhost only; behind a proxy "
                "start it with --password-file"
            )
    if environ["REQUEST_METHOD"] in READING:
        return None
    if role == "read":
        return "403 Forbidden", "this password may look and not change; sign in with the other one"
    return _foreign(environ)


def _foreign(environ: WSGIEnvironment) -> tuple[str, str] | None:
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None and site not in ("same-origin", "none"):
        return "403 Forbidden", "another page sent this"
    origin = environ.get("HTTP_ORIGIN")
    if site is None and origin is not None:
        forwarded = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[0].strip()
        ours = {host.lower() for host in (environ.get("HTTP_HOST", ""), forwarded) if host}
        if urlsplit(origin).netloc.lower() not in ours:
            return "403 Forbidden", "another page sent this"
    return None


def _name(host: str) -> str | None:
    """The name in a Host header, without its port; None where it has none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _password(header: str) -> str:
    """The password in an Authorization header; "" where there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
