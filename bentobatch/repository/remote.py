"""This module is the repository on another machine, which a `bentobatch repository-server` keeps: the same verbs over HTTP.

The server may be anybody's. Its answers are bounded and checked before anything is made of them; what it sends of a bundle
is verified by the callers (see base.py); no redirect is followed, so that the token goes to nobody else.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from bentobatch.bundle.archives import unpack
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.signatures import read_signatures
from bentobatch.bundle.unpacking import LIMITS
from bentobatch.bundle.urls import reason, shown
from bentobatch.errors import (
    BentobatchError,
    BundleError,
    ConflictError,
    NoInputError,
    PolicyError,
    StorageError,
    UnavailableError,
    UsageError,
)
from bentobatch.labels import Selector, check_key, check_labels
from bentobatch.repository.base import Repository, check_page, one_version, parsed_tag
from bentobatch.repository.entry import Entry
from bentobatch.repository.packing import members_of, packed
from bentobatch.tags import Tag, check_name

API = "/api/v1"
LABELS_HEADER = "Bentobatch-Labels"
"""A JSON object: the labels that a pushed bundle gets; without it those that it was saved with."""
DIGEST_HEADER = "Bentobatch-Digest"
"""The content digest that a pushed bundle must have."""
MOST_LABELS = 7_500
"""Characters of the labels' JSON, which goes into a header."""

_SILENCE = 120
"""Seconds without a byte after which a server is given up; it verifies and stores a bundle in between."""
_PAGE = 200
_MOST_JSON = 256 << 20
_MOST_ERROR = 64 << 10
_BLOCK = 1 << 20
_LATER = (408, 425, 429, 502, 503, 504)
_HANDLERS = (
    request.ProxyHandler,
    request.HTTPHandler,
    request.HTTPSHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPErrorProcessor,
)  # and none for redirects
_ERRORS: dict[str, type[BentobatchError]] = {
    one.__name__: one
    for one in (BundleError, ConflictError, NoInputError, PolicyError, StorageError, UnavailableError, UsageError)
}


class RemoteRepository(Repository):
    """The repository of the server at ``url``; ``token`` is what it lets in, None where it asks for none.

    Nothing is asked of the server until a verb is called.

    Raises:
        UsageError: it is no http or https URL, or has a user's name, a query or a fragment in it.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
            raise UsageError(f"{shown(url)!r} is no URL of a repository server: write http://HOST:PORT or https://HOST")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                f"{parts.scheme}://{parts.hostname}: the URL of a repository server has no user, query or fragment; the "
                "token is the setting repository_token"
            )
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise UsageError("the repository token is no word of ASCII characters: set repository_token anew")
        self._url = url.rstrip("/")
        self._token = token

    @property
    def where(self) -> str:
        """The server's URL."""
        return self._url

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def list(
        self,
        name: str | None = None,
        *,
        labels: str = "",
        limit: int | None = None,
        offset: int = 0,
        order_by: str = "name",
        ascending: bool = False,
    ) -> Sequence[Entry]:
        """See Repository. It is asked for page by page; what is pushed or deleted meanwhile may be missing."""
        check_page(limit, offset, order_by)
        if name is not None:
            check_name(name)
        Selector.parse(labels)
        query = {"labels": labels, "order_by": order_by, "ascending": "true" if ascending else "false"}
        if name is not None:
            query["name"] = name
        found: dict[Tag, Entry] = {}
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = self._json("GET", "/bundles", query={**query, "limit": str(size), "offset": str(offset)})
            entries = page.get("bundles")
            if not isinstance(entries, list_type) or len(entries) > size:
                raise self._strange("its list is malformed")
            found |= {entry.tag: entry for entry in map(self._entry, entries)}
            offset += len(entries)
            if page.get("more") is not True or not entries:
                break
        return list_type(found.values())

    def get(self, tag: Tag | str) -> Entry:
        """See Repository. ``uri`` is the URL of the bundle's archive."""
        return self._entry(self._json("GET", _path(parsed_tag(tag))))

    def push(self, bundle: str | os.PathLike[str], *, labels: Mapping[str, str] | None = None) -> Entry:
        """See Repository. What is there already is not uploaded again."""
        folder = Path(bundle)
        manifest = read_manifest(folder)
        tag = Tag(manifest.service_name, manifest.service_version)
        headers = {"Content-Type": "application/gzip", DIGEST_HEADER: manifest.digest}
        if labels is not None:
            headers[LABELS_HEADER] = json.dumps(check_labels(labels))
            if len(headers[LABELS_HEADER]) > MOST_LABELS:
                raise UsageError(f"{tag} has too many labels to push: {MOST_LABELS:,} characters at most")
        there = self._there(tag)
        if there is not None:
            if there.digest != manifest.digest:
                raise ConflictError(
                    f"{tag} is in the repository {self.where} already, with other content (sha256:{there.digest}, not "
                    f"sha256:{manifest.digest}): save it under another version, or delete that one first"
                )
            if all(one in there.signatures for one in read_signatures(folder)):
                return there
        most = self._most_bytes(tag)
        blocks = _bounded(packed(members_of(folder, manifest)), most, f"{tag} is too much for {self.where}")
        pushed = self._entry(self._json("PUT", _path(tag), headers=headers, data=blocks))
        if (pushed.tag, pushed.digest) != (tag, manifest.digest):
            raise self._strange(f"it says that it stored {pushed.tag}, sha256:{pushed.digest}")
        return pushed

    def delete(self, tag: Tag | str) -> None:
        """See Repository."""
        with self._answer("DELETE", _path(one_version(tag, "delete"))):
            pass

    def set_labels(
        self, tag: Tag | str, labels: Mapping[str, str] | None = None, *, unset: Collection[str] = ()
    ) -> dict[str, str]:
        """See Repository."""
        body = {"set": check_labels(labels or {}), "unset": [check_key(key) for key in unset]}
        found = self._json(
            "PATCH",
            f"{_path(parsed_tag(tag))}/labels",
            headers={"Content-Type": "application/json"},
            data=json.dumps(body).encode(),
        ).get("labels")
        if not isinstance(found, dict):
            raise self._strange("its labels are malformed")
        try:
            return check_labels(found)
        except UsageError as error:
            raise self._strange("its labels are malformed") from error

    def fill(self, entry: Entry, folder: Path) -> None:
        """See Repository. The archive lies beside ``folder`` until it is unpacked; no name in the answer counts."""
        handle, name = tempfile.mkstemp(prefix=".bentobatch-archive-", dir=folder.parent)
        archive = Path(name)
        try:
            with os.fdopen(handle, "wb") as file, self._answer("GET", _archive(entry.tag)) as answer:
                count = 0
                while block := answer.read(_BLOCK):
                    count += len(block)
                    if count > LIMITS.bytes:
                        raise BundleError(
                            f"{self.where}: the archive of {entry.tag} has more than {LIMITS.bytes:,} bytes"
                        )
                    file.write(block)
                if answer.headers.get("Content-Length", str(count)) != str(count):
                    raise self._unavailable(ConnectionError("the archive was cut off"))
            unpack(archive, folder, kind="tar.gz", where=f"bundle {entry.tag} of {self.where}")
        finally:
            archive.unlink(missing_ok=True)

    def _most_bytes(self, tag: Tag) -> int:
        """How large an archive the server takes: asked first, since a refusal in mid-upload seldom reaches the client."""
        about = self._json("GET", "")
        rights, most = about.get("rights"), about.get("most_bytes")
        if not isinstance(rights, list_type) or not isinstance(most, int):
            raise self._strange("its rights are malformed")
        if "write" not in rights:
            raise UsageError(f"{tag} was not pushed: this token may only read from the repository server {self.where}")
        return most

    def _there(self, tag: Tag) -> Entry | None:
        try:
            return self._asked(tag)
        except NoInputError:
            return None

    # -- the server's answers -----------------------------------------------------------------------------------------

    def _entry(self, value: Any) -> Entry:
        try:
            entry = Entry.from_json(value)
        except (ValueError, OverflowError) as error:
            raise self._strange(str(error)) from error
        return replace(entry, uri=f"{self._url}{API}{_archive(entry.tag)}")

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self._answer(method, path, **more) as answer:
            data = answer.read(_MOST_JSON + 1)
        try:
            value = json.loads(data) if len(data) <= _MOST_JSON else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._strange("its answer is no JSON object")
        return value

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | Iterable[bytes] | None = None,
    ) -> Iterator[Any]:
        """The body of the server's answer, to be read; what goes wrong, also while it is read, is an error of ours."""
        url = f"{self._url}{API}{path}" + (f"?{urlencode(query)}" if query else "")
        made = request.Request(url, method=method, data=data, headers=dict(headers or {}))  # noqa: S310 - http(s) only
        made.add_header("Accept", "application/json, application/gzip")
        made.add_header("User-Agent", "bentobatch")
        if self._token is not None:
            made.add_unredirected_header("Authorization", f"Bearer {self._token}")
        opener = request.OpenerDirector()
        for handler in _HANDLERS:
            opener.add_handler(handler())
        try:
            with opener.open(made, timeout=_SILENCE) as answer:
                yield answer
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except URLError as error:
            cause = error.reason if isinstance(error.reason, Exception) else error
            raise self._unavailable(cause) from None
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException) -> UnavailableError:
        what = f"{type(error).__name__} {reason(error, self._url)}"
        return UnavailableError(f"the repository server {self.where} does not answer: {what}; try again")

    def _refusal(self, error: HTTPError) -> BentobatchError:
        """The error that the server's answer means. What it says is shown as one line, and trusted for nothing."""
        code, location = error.code, error.headers.get("Location")
        if 300 <= code < 400:
            there = f" to {shown(location)}" if location else ""
            return UsageError(
                f"the repository server {self.where} leads on{there}: if you trust that, give its own URL"
            )
        kind, message = _said(error)
        said = f"the repository server {self.where} says: {message}" if message else ""
        if code == 401:
            wants = "lets nobody in without a token" if self._token is None else "does not know this token"
            return UsageError(
                f"the repository server {self.where} {wants}: set BENTOBATCH_REPOSITORY_TOKEN, or the setting "
                "repository_token, for this URL"
            )
        if said and kind in _ERRORS:
            return _ERRORS[kind](said)
        if code in _LATER:
            return UnavailableError(said or f"the repository server {self.where} says {code}; try again later")
        if said and code in (400, 403, 413, 415):
            return UsageError(said)
        return StorageError(
            said or f"{self.where} says {code}, and is no repository server of bentobatch; check the URL"
        )

    def _strange(self, what: str) -> BundleError:
        return BundleError(f"the repository server {self.where} answers what no such server does: {_line(what)}")


list_type = list
"""``list`` itself, which within the class is the verb."""


def token_for(url: str, *, home_url: str | None, token: str | None) -> str | None:
    """The settings' ``token`` where it is meant for ``url``: they name no server, or this one (scheme, host, port)."""
    if home_url is None or not home_url.startswith(("http://", "https://")):
        return token
    here, there = urlsplit(url), urlsplit(home_url)
    return token if (here.scheme, here.netloc.lower()) == (there.scheme, there.netloc.lower()) else None


def _bounded(blocks: Iterable[bytes], most: int, what: str) -> Iterator[bytes]:
    count = 0
    for block in blocks:
        count += len(block)
        if count > most:
            raise UsageError(
                f"{what}: its archive has more than {most:,} bytes; the server's --max-upload-size allows more"
            )
        yield block


def _path(tag: Tag) -> str:
    return f"/bundles/{tag.name}/{tag.version}"  # its characters are all plain ones


def _archive(tag: Tag) -> str:
    return f"{_path(tag)}/archive.tar.gz"


def _said(error: HTTPError) -> tuple[str, str]:
    """The type and the message of an error's JSON; empty where there is none."""
    try:
        found = json.loads(error.read(_MOST_ERROR))["error"]
        return str(found["type"]), _line(str(found["message"]))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        return "", ""


def _line(text: str) -> str:
    shown_text = " ".join(text.split())[:1000]
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown_text)
