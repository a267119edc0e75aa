"""JSON documents: what edgeexit writes, and what it refuses to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexit.errors import InputError
from edgeexit.util.documents import parse_json, read_json


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_json_does_not_have_is_no_value(name: str, tmp_path: Path) -> None:
    """Python's own reader takes them; a damaged document would hold a number that nothing can be computed with."""
    with pytest.raises(ValueError, match=f"{name} is no value of JSON"):
        parse_json(f'{{"deep": [{{"value": {name}}}]}}')
    (tmp_path / "result.json").write_text(f"[{name}]")
    with pytest.raises(InputError, match="is not a result: not JSON"):
        read_json(tmp_path / "result.json", "a result")
