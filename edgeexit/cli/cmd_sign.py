"""`edgeexit sign`: sign a bundle, or check its signature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import Json, emit
from edgeexit.cli.printing import print_text

if TYPE_CHECKING:
    from edgeexit.bundle.signing import Signature


def sign_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by edgeexit compile.")],
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private Ed25519 key to sign with, PEM without a password.")
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make the key first, and its public key beside it (.pub).")
    ] = False,
    network_only: Annotated[
        bool,
        typer.Option("--network-only", help="Leave calibrations and timings out, so that devices may calibrate."),
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public key: check the signature instead of making one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign a bundle, so that anyone with the public key can check that it is unchanged; or check it.

    run, bench and inspect check it too, with --verify. Needs the extra signing.

    Example: edgeexit sign lenet.eexit --key release.pem --new-key --network-only
    edgeexit sign lenet.eexit --verify release.pem.pub
    """
    from edgeexit.bundle import Bundle
    from edgeexit.bundle.signing import make_keys, sign_bundle, verify_signature
    from edgeexit.errors import InputError

    if (key is None) == (verify is None) or (verify is not None and (new_key or network_only)):
        msg = "give --key with a private key to sign, or --verify with a public key to check; one of the two."
        raise InputError(msg)
    opened = Bundle.open(bundle)
    if verify is not None:
        found, done = verify_signature(opened, verify), "is as it was signed"
    else:
        assert key is not None
        if new_key:
            make_keys(key)
        found, done = sign_bundle(opened, key, network_only=network_only), "is signed"
    emit(_make_document(opened.path, found), lambda: _print(opened.path, found, done), as_json=as_json)


def _make_document(path: Path, signature: Signature) -> dict[str, Any]:
    return {
        "schema": "edgeexit.signed/1",
        "bundle": str(path),
        "covers": signature.covers,
        "created": signature.created,
        "key": signature.key,
    }


def _print(path: Path, signature: Signature, done: str) -> None:
    what = "everything" if signature.covers == "everything" else "the network, not calibrations and timings"
    print_text(f"{path} {done}: {what}; key {signature.key[:16]}, {signature.created}.")
