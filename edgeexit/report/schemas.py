"""The published JSON schemas of what edgeexit prints with `--json` and saves.

schema_names()             ["bench/1", "bundle/1", ...]
load_schema("bench/1")     a JSON Schema (draft 2020-12) as a dict
"""

from __future__ import annotations

import json
from typing import Any

from edgeexit.errors import InputError, did_you_mean
from edgeexit.util.resources import find_data_dir

_SUFFIX = ".schema.json"


def list_schemas() -> list[str]:
    """Names of all documents that have a schema, with their versions."""
    stems = (path.name.removesuffix(_SUFFIX) for path in find_data_dir("schemas").glob(f"*{_SUFFIX}"))
    return sorted("/".join(stem.rsplit("-", 1)) for stem in stems)


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a document, such as `bench/1`.

    Raises:
        InputError: there is none of that name; the nearest is suggested.
    """
    names = list_schemas()
    if name not in names:
        msg = f"no schema named {name!r}.{did_you_mean(name, names)} Schemas: {', '.join(names)}."
        raise InputError(msg)
    path = find_data_dir("schemas") / f"{name.replace('/', '-')}{_SUFFIX}"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
