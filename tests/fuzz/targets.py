"""Everything that is attacked, by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.fuzz import bundles, documents

Target: TypeAlias = Callable[[random.Random, Path], None]
"""Damages something in a scratch folder and uses it; raises nothing, or what it should not."""

TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        bundles.compile_damaged_bytes,
        bundles.compile_damaged_model,
        bundles.open_damaged_manifest,
        bundles.open_damaged_file,
        documents.compile_any_suffix,
        documents.compile_damaged_metadata,
        documents.read_damaged_calibration,
        documents.read_damaged_data,
        documents.read_damaged_result,
        documents.read_damaged_settings,
        documents.read_damaged_table,
    )
}
