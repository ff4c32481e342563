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
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from search.dashboard.attempts import LOOPBACK, Attempts, Network, TooManyAttempts, client_of
from search.dashboard.http import HEADERS, Refusal
from training.errors import ConfigError

FULL, READ = "DRIVEBEAT_DASHBOARD_PASSWORD", "DRIVEBEAT_DASHBOARD_READ_PASSWORD"
MIN_LENGTH = 8
READING = frozenset({"GET", "HEAD"})
OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO

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
            password: str | None = getattr(self, role)
            if password is None:
                continue
            if any("\ud800" <= character <= "\udfff" for character in password):  # how Python holds other bytes
                raise ConfigError(f"the dashboard's password for {role} is not UTF-8 text; choose another one")
            if len(password) < MIN_LENGTH:
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

    Raises ConfigError, without the passwords, for a file that cannot be read or parsed, or that other users of the
    machine can read or change.
    """
    if file is None:
        return Passwords(environment.get(FULL) or None, environment.get(READ) or None)
    try:
        with file.open(encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if os.name == "posix" and mode & OF_OTHERS:
                raise ConfigError(
                    f"--password-file {file}: other users can read or change it (mode {mode:04o}, allowed is 0600); "
                    f"run: chmod 600 {shlex.quote(str(file))}"
                )
            lines = [line.strip() for line in opened.read().splitlines()]
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


@dataclass(frozen=True, slots=True, eq=False)
class Auth:
    """Decides which requests are refused.

    passwords: of the dashboard.
    attempts: the wrong passwords so far.
    proxies: addresses of reverse proxies, whose X-Forwarded-For names the client.
    """

    passwords: Passwords
    attempts: Attempts = field(default_factory=Attempts)
    proxies: tuple[Network, ...] = LOOPBACK

    def refusal(self, environ: WSGIEnvironment) -> Refusal | None:
        """Return the refusal of a request, None if it is allowed. It reads the method, the headers and REMOTE_ADDR.

        If there are passwords, a request without a valid one gets 401, or 429 for a client with too many wrong ones,
        and the role `read` gets 403 for methods other than GET and HEAD. If there are none, the Host header must be a
        loopback name, which stops DNS rebinding; any other gets 403.

        In both cases a request that changes something gets 403 if another web page sent it. Browsers state the origin
        of a request in Sec-Fetch-Site, older browsers and plain HTTP in Origin. X-Forwarded-Host counts as our own
        name, because a web page cannot set it.
        """
        role: Role | None = "full"
        if self.passwords.any:
            try:
                role = self._role(environ)
            except TooManyAttempts as error:
                return Refusal("429 Too Many Requests", str(error), (("Retry-After", str(error.wait_s)),))
            if role is None:
                challenge = ("WWW-Authenticate", 'Basic realm="Drivebeat", charset="UTF-8"')
                return Refusal("401 Unauthorized", "a password is needed; any user name is accepted", (challenge,))
        else:
            host = _name(environ.get("HTTP_HOST", ""))
            if host is None or not is_loopback(host):
                return Refusal(
                    "403 Forbidden",
                    "without a password the dashboard answers to 127.0.0.1, [::1] and localhost only; behind a proxy "
                    "start it with --password-file",
                )
        if environ["REQUEST_METHOD"] in READING:
            return None
        if role == "read":
            return Refusal("403 Forbidden", "this password is read-only; sign in with the full one")
        if _is_foreign(environ):
            return Refusal("403 Forbidden", "another web page sent this request")
        return None

    def _role(self, environ: WSGIEnvironment) -> Role | None:
        """Return the role of the request's password, None without a valid one. Raises TooManyAttempts."""
        password = _password(environ.get("HTTP_AUTHORIZATION", ""))
        if not password:
            return None
        client = client_of(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""), self.proxies)
        return self.attempts.check(client, lambda: self.passwords.role_of(password))


def require_auth(application: WSGIApplication, auth: Auth) -> WSGIApplication:
    """Return `application` with authentication in front of it, see Auth.refusal."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = auth.refusal(environ)
        if refusal is not None:
            return refusal.respond(environ, start_response)
        environ.pop("HTTP_AUTHORIZATION", None)  # the application must not see the password
        return application(environ, _with_headers(start_response))

    return answer


def _with_headers(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
        named = {name for name, _ in headers}
        return start_response(status, [*headers, *(row for row in HEADERS if row[0] not in named)])

    return start


def _is_foreign(environ: WSGIEnvironment) -> bool:
    """Return whether another web page sent the request. An Origin that is not valid is not ours."""
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    forwarded = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[0].strip()
    own_hosts = {host.lower() for host in (environ.get("HTTP_HOST", ""), forwarded) if host}
    try:
        return urlsplit(origin).netloc.lower() not in own_hosts
    except ValueError:
        return True


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
