"""This module signs bundles with ed25519 keys, and tells who signed one.

The signatures lie beside the manifest, in signatures.json, which the manifest does not list. What is signed is the
content digest, which covers every file of the bundle. The library cryptography is imported only where a key is used.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bentobatch.bundle.layout import SIGNATURES, open_member
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.staging import write_at_once
from bentobatch.errors import BundleError, MissingDependencyError, NoInputError, OutputError, UsageError

_PURPOSE = b"bentobatch bundle signature 1\n"
"""Before the digest, so that a signature of anything else never counts as one of a bundle."""
_PUBLIC = re.compile(r"ed25519:([A-Za-z0-9+/]{43}=)")
_MOST_BYTES = 1 << 20
_MOST_SIGNATURES = 100
_FIELDS = ("key", "digest", "signature")

Signature = dict[str, str]
"""``key`` (the public key, as ``ed25519:BASE64``), ``digest`` (of the bundle, hex) and ``signature`` (base64)."""


def make_key(file: Path) -> str:
    """Write a new private key (PEM, for its owner only) into ``file``, and the public one into ``file``.pub; returns it.

    Raises:
        OutputError: one of the files exists, or cannot be written.
    """
    _library()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = _spelled(key.public_key())
    other = file.with_name(f"{file.name}.pub")
    if os.path.lexists(other):
        raise OutputError(f"{str(other)!r} exists already: choose another name for the new key")
    for place, mode, data in ((file, 0o600, pem), (other, 0o644, f"{public}\n".encode())):
        try:
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(data)
        except OSError as error:
            raise OutputError(f"cannot write the key {str(place)!r}: {error.strerror}; choose another name") from error
    return public


def sign(root: Path, key: Path) -> str:
    """Add the signature of the private key in the file ``key`` to the bundle ``root``; returns the public key.

    Signing again with the same key changes nothing.

    Raises:
        NoInputError, UsageError: there is no such file, or it holds no private ed25519 key.
        OutputError: the bundle's folder cannot be written.
    """
    private = _private_key(key)
    digest = read_manifest(root).digest
    made = {
        "key": _spelled(private.public_key()),
        "digest": digest,
        "signature": base64.b64encode(private.sign(_PURPOSE + digest.encode())).decode(),
    }
    add_signatures(root, [made])
    return made["key"]


def add_signatures(folder: Path, signatures: Sequence[Signature]) -> None:
    """Add ``signatures`` to those beside the bundle in ``folder``; it is written only where that changes something.

    Raises:
        BundleError: those that are there are malformed.
        OutputError: the folder cannot be written.
    """
    here = read_signatures(folder)
    data = merged(here, signatures)
    if data == merged(here, ()):
        return
    try:
        write_at_once(folder / SIGNATURES, data)
    except OSError as error:
        raise OutputError(f"cannot write {str(folder / SIGNATURES)!r}: {error.strerror}; check its rights") from error


def read_signatures(root: Path) -> list[Signature]:
    """The signatures beside the bundle's manifest, none of them checked; none where there is no such file.

    Raises:
        BundleError: the file is malformed.
    """
    if not os.path.lexists(root / SIGNATURES):
        return []
    with open_member(root, SIGNATURES) as stream:
        return parse_signatures(stream.read(_MOST_BYTES + 1), str(root))


def parse_signatures(data: bytes, where: str) -> list[Signature]:
    """The signatures in the bytes of a signatures.json.

    Raises: BundleError, as ``read_signatures``.
    """
    try:
        found = json.loads(data)["signatures"] if len(data) <= _MOST_BYTES else None
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) > _MOST_SIGNATURES or not all(map(_is_signature, found)):
        raise BundleError(f"bundle {where}: its {SIGNATURES} is malformed: remove it, and sign the bundle again")
    return [{key: one[key] for key in _FIELDS} for one in found]


def merged(first: Sequence[Signature], second: Sequence[Signature]) -> bytes:
    """The bytes of a signatures.json with both, one for each key and digest."""
    unique = {(one["key"], one["digest"]): one for one in (*second, *first)}
    ordered = [unique[place] for place in sorted(unique)]
    return (json.dumps({"signatures": ordered}, indent=2) + "\n").encode()


def signers(signatures: Sequence[Signature], digest: str) -> set[str]:
    """The public keys that did sign the bundle of ``digest``; signatures that do not hold are passed over."""
    if not signatures:
        return set()
    _library()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = set()
    for one in signatures:
        if one["digest"] != digest:
            continue
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(one["key"].partition(":")[2]))
            key.verify(base64.b64decode(one["signature"], validate=True), _PURPOSE + digest.encode())
        except (InvalidSignature, ValueError, binascii.Error):
            continue
        found.add(one["key"])
    return found


def check_public_key(text: str, *, where: str) -> str:
    """``text`` itself, when it is a public key as ``make_key`` returns one.

    Raises:
        UsageError: it is none.
    """
    match = _PUBLIC.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"{where}: {str(text)[:80]!r} is no public key such as the line in the .pub file of a key")
    return text


def _is_signature(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in _FIELDS)


def _private_key(file: Path) -> Any:
    _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES)
    except OSError as error:
        raise NoInputError(f"the key {str(file)!r} cannot be read: {error.strerror}; make one with keygen") from error
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # the library's message may hold parts of the file
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{str(file)!r} holds no private ed25519 key without a password: make one with keygen")
    return key


def _spelled(public: Any) -> str:
    return f"ed25519:{base64.b64encode(public.public_bytes_raw()).decode()}"


def _library() -> None:
    try:
        import cryptography  # noqa: F401 - is it there?
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "signatures need the library cryptography, which is not installed: pip install 'bentobatch[repository]'"
        ) from error
