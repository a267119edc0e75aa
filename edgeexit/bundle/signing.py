"""Sign a bundle, and check a signature: Ed25519 over the manifest, which names every other file with its SHA-256.

The signature lies beside the manifest, in `signature.json`, and covers either everything, or the network alone: then devices can calibrate
what somebody else has signed, and the signature does not cover calibrations. Needs the extra `signing` (cryptography).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.reading import read_bundle_json
from edgeexit.bundle.store import lock_folder, translate_write_errors
from edgeexit.errors import BundleError, InputError, MissingExtra
from edgeexit.graph.paths import is_file, is_inside
from edgeexit.util.arguments import as_path
from edgeexit.util.atomic import write_new, write_whole
from edgeexit.util.documents import check_schema, dumps, parse_document, to_document
from edgeexit.util.progress import show_nothing
from edgeexit.util.timestamps import make_timestamp

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

T = TypeVar("T")

SCHEMA = "edgeexit.signature/1"
FILE = "signature.json"
EVERYTHING, NETWORK = "everything", "network"
_OF_DEVICES = frozenset({"calibrations", "history", "activated", "timings", "preferred"})
_LARGEST_KEY = 1 << 16  # bytes


@dataclass(frozen=True)
class Signature:
    """A bundle's signature.

    Attributes:
        schema: `edgeexit.signature/1`.
        covers: `everything`, or `network`: all but calibrations and timings.
        created: UTC, ISO 8601.
        key: SHA-256 of the public key, in hex, which names it.
        signature: Ed25519, in hex.
    """

    schema: str
    covers: str
    created: str
    key: str
    signature: str


def make_keys(private: Path | str) -> Path:
    """Write a new private key, readable by nobody else, and its public key beside it (`.pub`). Returns the public key's file.

    Raises:
        InputError: one of the files exists, or cannot be written.
        MissingExtra: cryptography is not installed.
    """
    serialization, ed25519, _ = _import_cryptography()
    path = as_path("key", private)
    public, key = path.with_name(f"{path.name}.pub"), ed25519.Ed25519PrivateKey.generate()
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    _write_new(path, secret, 0o600)
    _write_new(public, key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644)
    return public


def sign_bundle(bundle: Bundle, private: Path | str, *, network_only: bool = False) -> Signature:
    """Sign a bundle with a private key; a signature that is there is replaced.

    Args:
        bundle: opened, and so checked.
        private: PEM file of an Ed25519 key without a password.
        network_only: leave calibrations and timings out, so that they may change.

    Raises:
        InputError: no such key.
        BundleError: the bundle cannot be written.
        MissingExtra: cryptography is not installed.
    """
    key = _load_private_key(as_path("key", private))
    covers, created = NETWORK if network_only else EVERYTHING, make_timestamp()
    name = _compute_key_id(key.public_key())
    made = key.sign(_make_statement(bundle, covers, created, name)).hex()
    signature = Signature(SCHEMA, covers, created, name, made)
    with translate_write_errors(bundle.path), lock_folder(bundle.path, show_nothing):
        write_whole(bundle.path / FILE, dumps(signature).encode())
    return signature


def verify_signature(bundle: Bundle, public: Path | str) -> Signature:
    """Check a bundle's signature against a public key.

    Args:
        bundle: opened, and so checked: its files are those of its manifest.
        public: PEM file, or OpenSSH's, of an Ed25519 key.

    Raises:
        InputError: no such key.
        BundleError: not signed, signed with another key, or changed since.
        MissingExtra: cryptography is not installed.
    """
    key = _load_public_key(as_path("key", public))
    found = _read(bundle)
    name = _compute_key_id(key)
    if found.key != name:
        msg = f"{bundle.path} was signed with another key ({found.key[:16]}) than {public} ({name[:16]})."
        raise BundleError(msg)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(bytes.fromhex(found.signature), _make_statement(bundle, found.covers, found.created, name))
    except (InvalidSignature, ValueError) as error:
        covered = "everything" if found.covers == EVERYTHING else "its network"
        msg = (
            f"{bundle.path} is not what was signed: the signature covers {covered}, which was changed since (compiled, calibrated"
            " or tampered with). Get a fresh copy, or have it signed again."
        )
        raise BundleError(msg) from error
    return found


def _read(bundle: Bundle) -> Signature:
    path = bundle.path / FILE
    if not is_file(path) or not is_inside(bundle.path, path):
        msg = f"{bundle.path} is not signed. To sign it: edgeexit sign {bundle.path} --key KEY.pem"
        raise BundleError(msg)
    document = read_bundle_json(path)
    check_schema(document, "signature", 1, str(path), BundleError)
    found = parse_document(Signature, document, str(path), BundleError)
    if found.covers not in (EVERYTHING, NETWORK):
        msg = f"{path} says that it covers {found.covers!r}; this edgeexit knows {EVERYTHING!r} and {NETWORK!r}."
        raise BundleError(msg)
    return found


def _make_statement(bundle: Bundle, covers: str, created: str, key: str) -> bytes:
    """The bytes that are signed."""
    document = to_document(bundle.manifest)
    if covers == NETWORK:
        document = {name: value for name, value in document.items() if name not in _OF_DEVICES}
        document["files"] = {n: f for n, f in document["files"].items() if not n.startswith("calibrations/")}
    del document["schema"]  # a calibration may raise it
    content = json.dumps(_drop_empty(document), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()
    return "\n".join((SCHEMA, covers, created, key, digest)).encode()


def _drop_empty(value: Any) -> Any:
    """Drop fields that are null or empty, as fields added by later versions are in older manifests."""
    if isinstance(value, Mapping):
        kept = {name: _drop_empty(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, {}, [])}
    return [_drop_empty(item) for item in value] if isinstance(value, list) else value


def _load_private_key(path: Path) -> Ed25519PrivateKey:
    serialization, ed25519, _ = _import_cryptography()
    load = partial(serialization.load_pem_private_key, password=None)
    key: Ed25519PrivateKey | None = _parse_key(_read_key_file(path), load, ed25519.Ed25519PrivateKey)
    if key is None:
        msg = f"{path} is not a private Ed25519 key in PEM without a password. Make one: edgeexit sign BUNDLE --key {path} --new-key"
        raise InputError(msg)
    return key


def _load_public_key(path: Path) -> Ed25519PublicKey:
    serialization, ed25519, _ = _import_cryptography()
    content = _read_key_file(path)
    load = serialization.load_ssh_public_key if content.startswith(b"ssh-") else serialization.load_pem_public_key
    key: Ed25519PublicKey | None = _parse_key(content, load, ed25519.Ed25519PublicKey)
    if key is None:
        msg = f"{path} is not a public Ed25519 key in PEM or OpenSSH's form; it is the file that ends in .pub."
        raise InputError(msg)
    return key


def _parse_key(content: bytes, load: Callable[[bytes], object], kind: type[T]) -> T | None:
    """A key of that kind; None where it is none, or of another kind."""
    _, _, damaged = _import_cryptography()
    try:
        key = load(content)
    except damaged:
        return None
    return key if isinstance(key, kind) else None


def _read_key_file(path: Path) -> bytes:
    if not path.is_file():
        msg = f"{path} is not a file of a key."
        raise InputError(msg)
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_KEY)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})."
        raise InputError(msg) from error


def _compute_key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        write_new(path, content, mode)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}); a key is never overwritten: choose another name."
        raise InputError(msg) from error


def _import_cryptography() -> tuple[Any, Any, tuple[type[Exception], ...]]:
    """Its modules for keys, and what it raises for files that are none."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra("cryptography", "signing") from error
    return serialization, ed25519, (ValueError, TypeError, UnsupportedAlgorithm)
