"""Ed25519 keys, in the PEM files that `openssl genpkey -algorithm ed25519` writes."""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tinybert.errors import InputError
from tinybert.files import read_file

MAKE = "openssl genpkey -algorithm ed25519 -out key.pem"
MAKE_PUBLIC = "openssl pkey -in key.pem -pubout -out public.pem"


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs.

    Raises:
        InputError: The file is missing, or is no private Ed25519 key without a password.
    """
    cure = f"make one: `{MAKE}`"
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = "file is no private key without a password"
        raise InputError(message, where=str(path), cure=cure) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("the private key is not one of Ed25519", where=str(path), cure=cure)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that checks signatures; its file is as OpenSSL writes it, to the last byte.

    Raises:
        InputError: The file is missing, or is no public Ed25519 key.
    """
    data, cure = _read(path), f"write it anew: `{MAKE_PUBLIC}`"
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("file is no public key", where=str(path), cure=cure) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("the public key is not one of Ed25519", where=str(path), cure=cure)
    if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != data:
        raise InputError("the public key's file was edited", where=str(path), cure=cure)
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """Return SHA-256 of the public key (DER), by which envelopes name it."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def is_signed_by(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Return whether a signature of some data is one by a key."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the key: {reason}", where=str(path)) from error
