"""A signature holds for what was signed, and for nothing that was changed since."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.errors import BundleError, InputError
from tests.support.manifests import edit_manifest

pytest.importorskip("cryptography", reason="signing needs the extra signing")
from edgeexit.bundle.signing import make_keys, sign_bundle, verify_signature

KEY = "board/onnxruntime-staged-float32-t1"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A private key; its public key lies beside it."""
    path = tmp_path / "release.pem"
    make_keys(path)
    return path


def public(private: Path) -> Path:
    return private.with_name("release.pem.pub")


def test_a_signed_bundle_is_verified_and_runs(bundle_path: Path, private: Path) -> None:
    """By `load`, which checks it again when it reloads."""
    sign_bundle(Bundle.open(bundle_path), private)

    assert "everything" == verify_signature(Bundle.open(bundle_path), public(private)).covers
    with pytest.warns(edgeexit.CalibrationWarning):
        runner = edgeexit.load(bundle_path, verify=public(private))
    with runner:
        Bundle.open(bundle_path).write_calibration(KEY, {"n": 1})
        with pytest.raises(BundleError, match="is not what was signed"):
            runner.reload()


def recompiled(path: Path, model: Path) -> None:
    edgeexit.compile(model, path, criterion="max_softmax", seconds=0)


def calibrated(path: Path, _model: Path) -> None:
    Bundle.open(path).write_calibration(KEY, {"n": 1})


def edited(path: Path, _model: Path) -> None:
    edit_manifest(path, created="2000-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("change", "network_only", "holds"),
    [
        (recompiled, False, False),
        (recompiled, True, False),
        (calibrated, False, False),
        (calibrated, True, True),
        (edited, False, False),
        (edited, True, False),
    ],
)
def test_what_was_changed_after_signing_is_found(
    bundle_path: Path, model: Path, private: Path, change: Callable[[Path, Path], None], network_only: bool, holds: bool
) -> None:
    """Also where every digest is right; calibrations may change where only the network was signed."""
    sign_bundle(Bundle.open(bundle_path), private, network_only=network_only)
    change(bundle_path, model)

    if holds:
        assert "network" == verify_signature(Bundle.open(bundle_path), public(private)).covers
    else:
        with pytest.raises(BundleError, match="is not what was signed"):
            verify_signature(Bundle.open(bundle_path), public(private))


def test_every_changed_byte_of_a_signature_is_found(bundle_path: Path, private: Path) -> None:
    """As one message."""
    sign_bundle(Bundle.open(bundle_path), private)
    file = bundle_path / "signature.json"
    whole = file.read_bytes()

    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        changed = file.read_text(errors="replace").split() != whole.decode().split()
        if changed:
            with pytest.raises(BundleError):
                verify_signature(Bundle.open(bundle_path), public(private))


def test_another_key_and_an_unsigned_bundle_are_told_apart(bundle_path: Path, tmp_path: Path, private: Path) -> None:
    """Not signed at all, and signed by somebody else."""
    with pytest.raises(BundleError, match="is not signed"):
        verify_signature(Bundle.open(bundle_path), public(private))
    other = make_keys(tmp_path / "other.pem")
    sign_bundle(Bundle.open(bundle_path), private)

    with pytest.raises(BundleError, match="signed with another key"):
        verify_signature(Bundle.open(bundle_path), other)


NO_KEYS = {
    "empty": b"",
    "cut": b"-----BEGIN PRIVATE KEY-----\n",
    "ssh": b"ssh-ed25519 AAAA",
    "binary": b"\xff" * 100,
}


@pytest.mark.parametrize("content", NO_KEYS.values(), ids=list(NO_KEYS))
def test_what_is_no_key_is_one_message(bundle_path: Path, tmp_path: Path, private: Path, content: bytes) -> None:
    """For signing and for checking."""
    sign_bundle(Bundle.open(bundle_path), private)
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(content)

    with pytest.raises(InputError, match="is not a private Ed25519 key"):
        sign_bundle(Bundle.open(bundle_path), wrong)
    with pytest.raises(InputError, match="is not a public Ed25519 key"):
        verify_signature(Bundle.open(bundle_path), wrong)
    with pytest.raises(InputError, match="is not a file of a key"):
        sign_bundle(Bundle.open(bundle_path), tmp_path)


def test_a_key_is_private_and_never_overwritten(private: Path) -> None:
    """Nobody else may read it."""
    assert 0o600 == stat.S_IMODE(private.stat().st_mode)
    with pytest.raises(InputError, match="never overwritten"):
        make_keys(private)


def test_a_signature_survives_that_the_same_network_is_compiled_again(bundle_path: Path, private: Path) -> None:
    """The file lies beside the manifest and is nobody's litter."""
    sign_bundle(Bundle.open(bundle_path), private, network_only=True)
    Bundle.open(bundle_path).write_calibration(KEY, {"n": 1})

    assert (bundle_path / "signature.json").is_file()
