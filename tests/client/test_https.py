"""Tests of the client over https, with a certificate that the system does not trust."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bentobatch.client import Client
from bentobatch.errors import UnavailableError
from tests.client.conftest import served_by


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def url(bundle: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    """`bentobatch serve-gunicorn --tls-cert … --tls-key …`."""
    paths = {"tls-cert": str(certificate[0]), "tls-key": str(certificate[1])}
    with served_by("serve-gunicorn", bundle, paths) as way:
        yield f"https://127.0.0.1:{way.port}"


def test_a_server_whose_certificate_is_trusted_is_asked(url: str, certificate: tuple[Path, Path]) -> None:
    """By a context of the caller's; connections are kept as over http."""
    with Client(url, context=ssl.create_default_context(cafile=str(certificate[0]))) as client:
        assert [client.predict([[value, 1.0, 1.0]]) for value in (1.0, 2.0, 3.0)] == [[3.0], [4.0], [5.0]]
        assert client.ready()
        assert client._connections.opened == 1


def test_a_server_whose_certificate_is_not_trusted_is_told_nothing(url: str) -> None:
    """The system's trust is the default, and cannot be turned off by accident."""
    with Client(url, "a-secret-token-0123456789") as client:
        with pytest.raises(UnavailableError, match=r"SSLCertVerificationError.*self-signed"):
            client.predict([[1.0, 2.0, 3.0]])
        assert not client.ready()
