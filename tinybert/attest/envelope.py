"""DSSE envelopes: a payload and a signature of it, in one line of JSON.

Source: https://github.com/secure-systems-lab/dsse, protocol and envelope, version 1.0.
"""

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tinybert.attest.keys import is_signed_by, key_id
from tinybert.errors import InputError
from tinybert.files import read_file
from tinybert.strict_json import parse_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the file of an envelope with an in-toto payload and its signature."""
    signature = key.sign(_signed_bytes(payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {
                "keyid": key_id(key.public_key()),
                "sig": base64.b64encode(signature).decode(),
            }
        ],
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def read_payload(path: Path, key: Ed25519PublicKey) -> bytes:
    """Return the payload of an envelope that was signed with a key.

    Raises:
        InputError: The file is missing or no envelope, or the signature is not one of this payload
            by this key.
    """
    try:
        envelope = parse_json(read_file(path), exact_integers=True)
        ((kind, text, signatures),) = [
            [envelope.pop(name) for name in ("payloadType", "payload", "signatures")]
        ]
        ((keyid, signature),) = [
            (entry.pop("keyid"), _decoded(entry.pop("sig"))) for entry in signatures
        ]
        payload = _decoded(text)
        whole = not envelope and not any(signatures)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the envelope: {reason}", where=str(path)) from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        message = "file is no signed envelope (DSSE) with one signature"
        raise InputError(message, where=str(path)) from error
    if not whole or kind != PAYLOAD_TYPE:
        raise InputError("the envelope holds no in-toto statement", where=str(path))
    if keyid != key_id(key):
        message = f"signed with another key: {keyid!r}, not {key_id(key)!r}"
        cure = "name the public key of who signed"
        raise InputError(message, where=str(path), cure=cure)
    if not is_signed_by(key, signature, _signed_bytes(payload)):
        cure = "get envelope and public key again from who signed"
        message = "the signature is not one of this statement by this key"
        raise InputError(message, where=str(path), cure=cure)
    return payload


def _signed_bytes(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decoded(text: str) -> bytes:
    """Return the bytes of their one base64 form; raises ValueError for any other text."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not as base64 is written")
    return data
