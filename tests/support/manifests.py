"""Manifests of bundles changed as somebody would who knows how their digest is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeexit.bundle.seal import FIELD, add_digest


def write_manifest(bundle: Path, document: Any) -> None:
    """Write a manifest with the digest that is right for it; what is no object, or has none, is written as it is."""
    if isinstance(document, dict) and FIELD in document:
        rest = {name: value for name, value in document.items() if name != FIELD}
        content = add_digest(json.dumps({**rest, FIELD: "0" * 64}, indent=2).encode() + b"\n")
    else:
        content = json.dumps(document).encode()
    (bundle / "manifest.json").write_bytes(content)


def edit_manifest(bundle: Path, **changes: object) -> None:
    """Change fields of a manifest."""
    write_manifest(bundle, {**json.loads((bundle / "manifest.json").read_text()), **changes})
