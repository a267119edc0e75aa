"""The shape of the code that no linter counts: short functions, short files, names that say one thing, verbs for functions."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import edgeexit

LONGEST_FUNCTION = 60
LONGEST_FILE = 400


@cache
def read_files() -> dict[Path, str]:
    """The text of every file of the package."""
    return {p: p.read_text(encoding="utf-8") for p in sorted(Path(edgeexit.__file__).parent.rglob("*.py"))}


@cache
def parse_files() -> dict[Path, ast.Module]:
    """The syntax tree of every file."""
    return {path: ast.parse(text) for path, text in read_files().items()}


def list_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function with its file and name."""
    for path, tree in parse_files().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.name}:{node.lineno} {node.name}", node


def count_body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function from its first statement to its last, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short() -> None:
    """Half of the functions have at most 7 lines, nine of ten at most 20, none more than 60."""
    lengths = {name: count_body_lines(function) for name, function in list_functions()}
    ordered = sorted(lengths.values())

    assert 7 >= median(ordered)
    assert 20 >= ordered[len(ordered) * 9 // 10]
    assert [] == [name for name, length in lengths.items() if length > LONGEST_FUNCTION]


def test_files_are_short() -> None:
    """Half of the files have at most 200 lines, and none is too long to be read in one go."""
    lengths = {path.name: len(text.splitlines()) for path, text in read_files().items()}

    assert 200 >= median(lengths.values())
    assert [] == [name for name, length in lengths.items() if length > LONGEST_FILE]


def test_no_two_classes_have_one_name() -> None:
    """A name in an error or a review means one class."""
    names = Counter(
        node.name for tree in parse_files().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )

    assert [] == [name for name, count in names.items() if count > 1]


def test_public_functions_are_not_named_x_of() -> None:
    """Functions are verbs: `compute_speedup`, not `speedup_of`."""
    assert [] == [name for name, _ in list_functions() if name.endswith("_of") and not name.split()[1].startswith("_")]
