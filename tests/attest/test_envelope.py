"""Envelopes of ours are read by another implementation of DSSE, and theirs by ours."""

import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from tests.attest.conftest import write_keys
from tinybert.attest import envelope as ours
from tinybert.attest.envelope import PAYLOAD_TYPE, read_payload, sign
from tinybert.attest.keys import key_id, read_private_key, read_public_key
from tinybert.errors import InputError

PAYLOAD = '{"a": "é"}'.encode()


def test_another_implementation_accepts_our_signature(keys):
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    envelope = Envelope.from_dict(json.loads(sign(PAYLOAD, private)))
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, PAYLOAD_TYPE)
    assert list(envelope.verify([SSlibKey.from_crypto(public, key_id(public))], 1)) == [
        key_id(public)
    ]


def test_we_accept_the_signature_of_another_implementation(keys, tmp_path):
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    envelope = Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(private, SSlibKey.from_crypto(public, key_id(public))))
    (tmp_path / "e").write_text(json.dumps(envelope.to_dict()))
    assert read_payload(tmp_path / "e", public) == PAYLOAD


def test_the_bytes_that_are_signed_are_those_of_the_specification():
    # the example of protocol.md
    kind, payload = "http://example.com/HelloWorld", b"hello world"
    known = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    theirs = Envelope(payload, kind, {}).pae()
    assert theirs == known
    assert ours._signed_bytes(PAYLOAD) == Envelope(PAYLOAD, PAYLOAD_TYPE, {}).pae()


def test_every_flipped_byte_of_an_envelope_is_refused(keys, tmp_path):
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    whole, path, messages = sign(PAYLOAD, private), tmp_path / "e", set()
    for place in range(len(whole)):
        for flip in (1, 32, 255):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(InputError) as caught:
                read_payload(path, public)
            messages.add(caught.value.message.partition(":")[0])
    assert messages == {
        "file is no signed envelope (DSSE) with one signature",
        "the envelope holds no in-toto statement",
        "signed with another key",
        "the signature is not one of this statement by this key",
    }


def test_every_flipped_byte_of_a_public_key_is_refused(keys, tmp_path):
    private, whole = read_private_key(keys[0]), keys[1].read_bytes()
    path = tmp_path / "e"
    path.write_bytes(sign(PAYLOAD, private))
    messages = set()
    for place in range(len(whole)):
        for flip in (1, 2, 255):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            keys[1].write_bytes(damaged)
            with pytest.raises(InputError) as caught:
                read_payload(path, read_public_key(keys[1]))
            messages.add(caught.value.message.partition(":")[0])
    assert messages <= {
        "file is no public key",
        "the public key is not one of Ed25519",
        "the public key's file was edited",
        "signed with another key",
    }
    assert {"file is no public key", "signed with another key"} <= messages


def test_another_key_and_other_files_are_refused_by_name(keys, tmp_path):
    _, other = write_keys(tmp_path / "others", seed=2)
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    path = tmp_path / "e"
    path.write_bytes(sign(PAYLOAD, private))
    with pytest.raises(InputError) as caught:
        read_payload(path, read_public_key(other))
    own = f"{key_id(public)!r}, not {key_id(read_public_key(other))!r}"
    help_line = "help: name the public key of who signed"
    expected = f"signed with another key: {own}\n  --> {path}\n{help_line}"
    assert str(caught.value) == expected
    for read, message in (
        (read_public_key, "file is no public key"),
        (read_private_key, "file is no private key without a password"),
    ):
        with pytest.raises(InputError, match=message):
            read(path)
    with pytest.raises(InputError, match="cannot read the key: no such file or directory"):
        read_public_key(tmp_path / "nothing")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_keys_of_openssl_are_read(tmp_path):
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", private]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    own = read_private_key(private)
    assert isinstance(own, Ed25519PrivateKey)
    assert key_id(own.public_key()) == key_id(read_public_key(public))
