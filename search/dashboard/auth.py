"""Authentication of the dashboard by passwords, and protection against requests from other web pages.

It uses HTTP Basic and no login page: every browser, proxy and script supports it, and there is no session to store,
sign or expire. The password determines the role; the user name is ignored. Basic does not encrypt the password, so use
TLS for access from other machines (docs/guide/dashboard.md).
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
MIN_LENGTH = 8
READING = frozenset({"GET", "HEAD"})
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)

Role = Literal["full", "read"]


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of the roles. No repr and no error message shows them.

    full: allows everything, None if there is no such password.
    read: allows reading only, None if there is no such password.
    """

    full: str | None = field(default=None, repr=False)
    read: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for role in ("full", "read"):
            password = getattr(self, role)
            if password is not None and len(password) < MIN_LENGTH:
                raise ConfigError(
                    f"the dashboard's password for {role} has {len(password)} characters; at least {MIN_LENGTH} are "
                    "needed, such as: openssl rand -base64 18"
                )
        if self.full is not None and self.full == self.read:
            raise ConfigError("the dashboard's passwords for full and read are the same; choose two")

    @property
    def any(self) -> bool:
        """Whether there is a password."""
        return self.full is not None or self.read is not None

    def role_of(self, password: str) -> Role | None:
        """Return the role of `password`, None for a wrong one. The time taken does not depend on the passwords."""
        full, read = _same(password, self.full), _same(password, self.read)
        return "full" if full else "read" if read else None


def _same(given: str, expected: str | None) -> bool:
    # digests have the same length, so the time does not depend on the length of the password
    digests = [hashlib.sha256((text or "").encode()).digest() for text in (given, expected)]
    return hmac.compare_digest(*digests) and expected is not None


def find_passwords(file: Path | None, environment: Mapping[str, str] = os.environ) -> Passwords:
    """Return the passwords of `file`, or of the environment if `file` is None.

    file: has a line `full: PASSWORD`, a line `read: PASSWORD`, or both. Empty lines and lines with # are skipped.
    environment: may hold DRIVEBEAT_DASHBOARD_PASSWORD and DRIVEBEAT_DASHBOARD_READ_PASSWORD.

    Raises ConfigError, without the passwords, for a file that cannot be read or parsed.
    """
    if file is None:
        return Passwords(environment.get(FULL) or None, environment.get(READ) or None)
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--password-file {file}: {reason}; add a line 'full: PASSWORD'") from error
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
        raise ConfigError(f"--password-file {file}: it is empty; add a line 'full: PASSWORD'")
    return Passwords(**found)


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address or localhost. Names are not looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_open(host: str, passwords: Passwords) -> None:
    """Raise ConfigError if the dashboard would be open to other machines without a password."""
    if not is_loopback(host) and not passwords.any:
        raise ConfigError(
            f"--host {host}: other machines could delete studies; set a password: --password-file FILE (a "
            f"line 'full: ...' or 'read: ...'), or {FULL} or {READ} in the environment"
        )


def require_auth(application: WSGIApplication, passwords: Passwords) -> WSGIApplication:
    """Return `application` with authentication in front of it.

    If there are passwords, a request without a valid one gets 401, and the role `read` gets 403 for methods other than
    GET and HEAD. If there are none, the Host header must be a loopback name, which stops DNS rebinding; any other gets
    403.

    In both cases a request that changes something gets 403 if another web page sent it. Browsers state the origin of a
    request in Sec-Fetch-Site, older browsers and plain HTTP in Origin. X-Forwarded-Host counts as our own name, because
    a web page cannot set it.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = _refusal(environ, passwords)
        if refusal is not None:
            status, reason = refusal
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(reason.encode()) + 1))]
            if status.startswith("401"):
                headers.append(("WWW-Authenticate", 'Basic realm="Drivebeat", charset="UTF-8"'))
            start_response(status, [*headers, ("Cache-Control", "no-store"), *HEADERS])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [f"{reason}\n".encode()]
        environ.pop("HTTP_AUTHORIZATION", None)  # the application must not see the password
        return application(environ, _with_headers(start_response))

    return answer


def _with_headers(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *HEADERS])

    return start


def _refusal(environ: WSGIEnvironment, passwords: Passwords) -> tuple[str, str] | None:
    """Return status and reason if the request is refused, else None."""
    if passwords.any:
        role = passwords.role_of(_password(environ.get("HTTP_AUTHORIZATION", "")))
        if role is None:
            return "401 Unauthorized", "a password is needed; any user name is accepted"
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
        return "403 Forbidden", "this password is read-only; sign in with the full one"
    return _foreign(environ)


def _foreign(environ: WSGIEnvironment) -> tuple[str, str] | None:
    """Return status and reason if another web page sent the request, else None."""
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None and site not in ("same-origin", "none"):
        return "403 Forbidden", "another web page sent this request"
    origin = environ.get("HTTP_ORIGIN")
    if site is None and origin is not None:
        forwarded = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[0].strip()
        own_hosts = {host.lower() for host in (environ.get("HTTP_HOST", ""), forwarded) if host}
        if urlsplit(origin).netloc.lower() not in own_hosts:
            return "403 Forbidden", "another web page sent this request"
    return None


def _name(host: str) -> str | None:
    """Return the host name in a Host header, without the port; None if there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _password(header: str) -> str:
    """Return the password in an Authorization header, "" if there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
