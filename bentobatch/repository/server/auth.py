"""This module decides who may do what: tokens, web sessions, and where a request may come from.

Of a token only its sha256 is kept, which is enough since every token is 32 random bytes. Programs send theirs in the
Authorization header. A browser gives it once, and gets a cookie that is worth nothing elsewhere: no program may use it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bentobatch.errors import OutputError, UsageError

Right = Literal["read", "write"]
RIGHTS: dict[Right, tuple[Right, ...]] = {"read": ("read",), "write": ("read", "write")}
"""What a token of each kind may do."""

SHORTEST = 32
"""Characters that a token has at least; shorter ones are let in under no circumstances."""
SESSION = 12 * 3600
"""Seconds that a web session lasts."""

_LINE = re.compile(r"(read|write)\s+sha256:([0-9a-f]{64})(?:\s+(\S.*))?")
_MOST_BYTES = 1 << 20
_FORMAT = "each line is `read sha256:…` or `write sha256:…`, as `bentobatch repository-server token` makes it"


@dataclass(frozen=True)
class Token:
    """One token by its hash: what it may do, and what its owner calls it."""

    kind: Right
    digest: str
    name: str = ""

    @property
    def id(self) -> str:
        """What a session says instead of the hash."""
        return hashlib.sha256(f"id {self.digest}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.kind} sha256:{self.digest}{' ' if self.name else ''}{self.name}"


class Tokens:
    """The tokens that are let in, from a file, which is read anew for each request, or from a text (a variable's)."""

    def __init__(self, *, file: Path | None = None, text: str = "") -> None:
        self._file = file
        self._text = text

    def current(self) -> list[Token]:
        """The tokens as they are now.

        Raises:
            UsageError: the file cannot be read, may be changed by others, or a line is no hashed token.
        """
        if self._file is None:
            return _parsed(self._text, "BENTOBATCH_SERVER_TOKENS")
        where = f"the token file {str(self._file)!r}"
        try:
            with self._file.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                data = stream.read(_MOST_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{where} cannot be read: {error.strerror}") from error
        if mode & 0o022:
            raise UsageError(f"{where} may be changed by others: take that right away (chmod go-w)")
        return _parsed(data[:_MOST_BYTES].decode("utf-8", "replace"), where)

    def find(self, presented: str) -> Token | None:
        """The token that somebody sent. All are compared, each in a time that tells nothing."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for token in self.current():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found if len(presented) >= SHORTEST else None

    def by_id(self, identity: str) -> Token | None:
        """The token of a session, unless it was revoked since."""
        return next((token for token in self.current() if hmac.compare_digest(token.id, identity)), None)


class Sessions:
    """Signs web sessions and forms. ``secret``: servers behind one address share it; by default it lives as long as this
    process, and everybody signs in again after a restart."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, token: Token) -> str:
        """A session's cookie."""
        said = f"{token.id}.{int(time.time()) + SESSION}.{secrets.token_hex(8)}"
        return f"{said}.{self._mac('session', said)}"

    def token_id(self, cookie: str) -> str | None:
        """Whose session it is; None for one that was forged, has run out or was ended here."""
        said, _, mac = cookie.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac("session", said).encode()):
            return None
        identity, expires, _ = said.split(".")
        with self._lock:
            ended = cookie in self._ended
        return identity if int(expires) > time.time() and not ended else None

    def end(self, cookie: str) -> None:
        """Let nobody in with this session any more."""
        if self.token_id(cookie) is None:
            return
        now = time.time()
        with self._lock:
            self._ended = {one: until for one, until in self._ended.items() if until > now}
            self._ended[cookie] = now + SESSION

    def form_key(self, cookie: str) -> str:
        """What a form of this session must bring along."""
        return self._mac("form", cookie)

    def is_form_key(self, key: str, cookie: str) -> bool:
        """Whether the form was made for this session."""
        return hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self.form_key(cookie).encode())

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret, f"{purpose} {text}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def new_token(kind: Right, name: str = "") -> tuple[str, Token]:
    """A new random token, and what is kept of it."""
    text = f"bento_{kind}_{secrets.token_urlsafe(32)}"
    return text, hashed(text, kind, name)


def hashed(text: str, kind: Right, name: str = "") -> Token:
    """What is kept of a token.

    Raises:
        UsageError: it is too short, or its name has a line's end in it.
    """
    if len(text) < SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"a token has {SHORTEST} ASCII characters or more and no blanks; leave it to this command to make one"
        )
    if not name.isprintable() or name != name.strip() or set(name) & set(",;"):
        raise UsageError(f"{name!r} cannot be a token's name: give one line of text without commas and semicolons")
    return Token(kind, hashlib.sha256(text.encode()).hexdigest(), name)


def append(file: Path, token: Token) -> None:
    """Add a token to a file, which only its owner can read where it is new.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "ab") as stream:
            size = os.fstat(handle).st_size
            begins = b"" if size == 0 or os.pread(handle, 1, size - 1) == b"\n" else b"\n"
            stream.write(begins + f"{token}\n".encode())
    except OSError as error:
        raise OutputError(f"cannot write the token file {str(file)!r}: {error.strerror}") from error


def _parsed(text: str, where: str) -> list[Token]:
    found = []
    for number, raw in enumerate(re.split(r"[\n,;]", text), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:  # the line itself may be a token in clear, and is not shown
            raise UsageError(f"{where}, line {number}: it is no hashed token; {_FORMAT}")
        kind: Right = "read" if match[1] == "read" else "write"
        if match[2] == hashlib.sha256(b"").hexdigest():
            raise UsageError(f"{where}, line {number}: it is the empty token; {_FORMAT}")
        found.append(Token(kind, match[2], match[3] or ""))
    return found
