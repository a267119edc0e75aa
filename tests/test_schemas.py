"""The published JSON schemas: up to date, and held against what commands print and what earlier versions wrote."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonschema
import pytest
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.measure import BenchResult, compare_results
from edgeexit.report.schemas import list_schemas, load_schema
from scripts.make_schemas import DOCUMENTS, file_of, text_of
from tests.report.conftest import full  # noqa: F401 - a fixture
from tests.report.made import made_calibration, made_result

_ROOT = Path(__file__).resolve().parent.parent


def _check(document: Any) -> str:
    """Hold a document against the schema that it names; that name."""
    name = str(document["schema"]).removeprefix("edgeexit.")
    jsonschema.Draft202012Validator(load_schema(name)).validate(document)
    return name


def _printed(*arguments: str, code: int = 0) -> Any:
    ended = CliRunner().invoke(app, [*arguments, "--json"])
    assert code == ended.exit_code, ended.output
    return json.loads(ended.stdout)


@pytest.mark.parametrize("thing", DOCUMENTS)
def test_schemas_follow_the_documents(thing: str) -> None:
    """Run python scripts/make_schemas.py after a field was added."""
    assert text_of(thing) == file_of(thing).read_text(encoding="utf-8")
    jsonschema.Draft202012Validator.check_schema(load_schema(thing))


@pytest.mark.parametrize("thing", DOCUMENTS)
def test_no_type_of_a_field_is_text(thing: str) -> None:
    """Python 3.10 leaves text inside `tuple[Name, ...]` as it is, where later ones make a type of it: such a document could not be read."""
    seen: set[Any] = set()
    kinds: list[Any] = [DOCUMENTS[thing]]
    while kinds:
        kind = kinds.pop()
        assert not isinstance(kind, str), kind
        if dataclasses.is_dataclass(kind) and kind not in seen:
            seen.add(kind)
            kinds += inspect.get_annotations(kind, eval_str=True).values()  # type: ignore[arg-type]
        elif get_origin(kind) is not Literal:
            kinds += get_args(kind)


def test_every_schema_is_found_by_its_name() -> None:
    """From a checkout and from a wheel."""
    assert sorted(DOCUMENTS) == list_schemas()


def test_results_and_calibrations_are_valid(full: BenchResult) -> None:  # noqa: F811
    """With everything in them, as made and as saved."""
    assert "bench/1" == _check(full.to_document())
    assert "bench/1" == _check(made_result(2).to_document())
    assert "compare/1" == _check(compare_results(full, full).to_document())
    assert "calibration/1" == _check(json.loads(json.dumps(made_calibration(3).to_document())))


def test_a_saved_result_is_valid(full: BenchResult, tmp_path: Path) -> None:  # noqa: F811
    """It names the file of its samples too."""
    assert "bench/1" == _check(json.loads(full.save(tmp_path / "a.json").read_text(encoding="utf-8")))


def test_what_commands_print_is_valid(compiled: Path, full: BenchResult, tmp_path: Path) -> None:  # noqa: F811
    """Each by the schema that it names."""
    saved = str(full.save(tmp_path / "a.json"))

    assert _check(json.loads((compiled / "manifest.json").read_text(encoding="utf-8"))).startswith("bundle/")
    assert "inspect/1" == _check(_printed("inspect", str(compiled)))
    assert "inspect-page/1" == _check(_printed("inspect", str(compiled), "--html", str(tmp_path / "p.html")))
    assert "compare/1" == _check(_printed("compare", saved, saved))
    served = ("serve-export", str(compiled), "-o", str(tmp_path / "served"), "--thresholds", "1,1")
    assert "serve-export/1" == _check(_printed(*served))
    assert "report/1" == _check(_printed("report", saved, "-o", str(tmp_path / "r.html")))
    assert "devices/1" == _check(_printed("devices"))
    assert "version/1" == _check(_printed("version"))


def _recorded() -> list[Path]:
    return sorted(p for folder in ("benchmarks", "calibrate") for p in (_ROOT / folder).rglob("results/**/*.json"))


def test_what_earlier_versions_recorded_is_valid() -> None:
    """Every recorded result that is one of these documents."""
    checked = []
    for path in _recorded():
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and str(document.get("schema")).removeprefix("edgeexit.") in DOCUMENTS:
            checked.append(_check(document))

    assert checked or not _recorded()


def test_a_document_with_a_wrong_field_is_not_valid() -> None:
    """Text where a number belongs, or a field that is missing."""
    document = made_result(2).to_document()
    with pytest.raises(jsonschema.ValidationError):
        _check({**document, "latency": "fast"})
    del document["subject"]
    with pytest.raises(jsonschema.ValidationError):
        _check(document)


def test_fields_of_later_versions_are_allowed() -> None:
    """A version may gain fields."""
    assert "bench/1" == _check({**made_result(2).to_document(), "later": 1})
