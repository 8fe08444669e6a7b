"""The certificate by which a client knows our gateways: kubectl sends no token over plain http.

An authority is made for each server certificate and its key is thrown away, so that nobody can
issue another one in its name, neither now nor later.
"""

import os
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kubecase.core.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

DAYS = 825
RENEWED_BEFORE_DAYS = 30
_NAMES = ("localhost",)
_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A server's certificate with its key, and the authority that it is checked against; PEM."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def new(cls, *, addresses: tuple[str, ...] = ()) -> Self:
        """One for loopback and `addresses`, names or IP addresses."""
        return cls(**_made(addresses))

    @classmethod
    def kept(cls, directory: Path) -> Self:
        """That of `directory`, made where there is none or it is about to end.

        Whoever takes over a run finds the one that the run's client was told of. Raises
        StoreUnavailable.
        """
        path = directory / "gateway.pem"
        try:
            found = cls._read(path)
            if found is not None:
                return found
            made = cls.new()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, made.authority + made.certificate + made.key)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot keep the gateway's certificate in {directory}: {error.strerror}",
                hint="It lies in store.data_dir; is there space, and may it be written?",
            ) from error
        return cls._read(path) or made

    @classmethod
    def _read(cls, path: Path) -> Self | None:
        from cryptography import x509  # noqa: PLC0415 - slow to import

        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        end = b"-----END CERTIFICATE-----\n"
        parts = data.split(end)
        if len(parts) != 3:
            return None
        authority, certificate, key = parts[0] + end, parts[1] + end, parts[2]
        try:
            ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        except ValueError:
            return None
        if ends - datetime.now(UTC) < timedelta(days=RENEWED_BEFORE_DAYS):
            return None
        return cls(authority=authority, certificate=certificate, key=key)

    def server_context(self) -> ssl.SSLContext:
        """What a server speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The library reads them from a file only.
        with tempfile.NamedTemporaryFile() as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
    try:
        # The first one of several that start at once wins; an old one is put away.
        old = path.with_name(f"{path.name}.old")
        if path.exists():
            path.replace(old)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _made(addresses: tuple[str, ...]) -> dict[str, bytes]:
    from cryptography import x509  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    now = datetime.now(UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def begun(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("kubecase gateway authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=DAYS))
        )

    authority = (
        begun("kubecase gateway authority", authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        begun("kubecase gateway", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(list(_names(addresses))), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return {
        "authority": authority.public_bytes(pem),
        "certificate": certificate.public_bytes(pem),
        "key": key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }


def _names(addresses: tuple[str, ...]) -> "Iterator[x509.GeneralName]":
    from cryptography import x509  # noqa: PLC0415 - slow to import

    for each in dict.fromkeys((*_NAMES, *_ADDRESSES, *addresses)):
        try:
            yield x509.IPAddress(ip_address(each))
        except ValueError:
            yield x509.DNSName(each)
