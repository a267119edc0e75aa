"""The manifest's own digest: its last field is the SHA-256 of every other byte of the file.

    {
      "schema": "edgeexit.bundle/2",
      ...
      "digest": "<SHA-256 of this file with 64 zeros here>"
    }

It finds damage and edits, as the digests of the other files do. Against somebody who may write the folder it proves nothing: for that
there is `edgeexit sign`. Manifests of schema 1 have no digest and are still read.
"""

from __future__ import annotations

import hashlib
import re

from edgeexit.bundle.manifest import Manifest, parse_manifest, parse_schema_version
from edgeexit.errors import BundleError
from edgeexit.util.documents import dumps, parse_json, to_document

FIELD = "digest"
_FIRST_SEALED = 2
_ZEROS = "0" * 64
_TAIL = re.compile(rb'"digest": "([0-9a-f]{64})"\n}\n\Z')


def seal(manifest: Manifest) -> bytes:
    """The manifest as the bytes of its file, digest included."""
    return add_digest(dumps({**to_document(manifest), FIELD: _ZEROS}).encode())


def add_digest(content: bytes) -> bytes:
    """The bytes of a manifest whose last field is a digest, with the digest that is right for them."""
    return _replace_digest(content, hashlib.sha256(_replace_digest(content, _ZEROS)).hexdigest())


def read_sealed(content: bytes, where: str) -> Manifest:
    """The manifest from the bytes of its file.

    Raises:
        BundleError: not JSON, another or a newer schema, changed since it was written, or faults; all faults in one message.
    """
    content = content.replace(
        b"\r\n", b"\n"
    )  # as Windows tools and Git rewrite text files; JSON text holds no line ends
    try:
        document = parse_json(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON ({error}): the bundle is damaged; compile it again."
        raise BundleError(msg) from error
    if parse_schema_version(document, where) >= _FIRST_SEALED:
        _check_digest(content, where)
        del document[FIELD]
    return parse_manifest(document, where)


def _check_digest(content: bytes, where: str) -> None:
    if _TAIL.search(content) and add_digest(content) == content:
        return
    msg = f"{where} was changed after it was written (its digest differs): the bundle is damaged; copy it again, or compile it again."
    raise BundleError(msg)


def _replace_digest(content: bytes, digest: str) -> bytes:
    found = _TAIL.search(content)
    assert found is not None, "the digest is the last field"
    return content[: found.start(1)] + digest.encode() + content[found.end(1) :]
