"""The fakes of pycuda, cuda-python and TensorRT have the signatures of the real bindings, as typings/ holds them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.simulated import Gpu, installed

TYPINGS = Path(__file__).resolve().parent.parent.parent / "typings"
VERSIONS = [("10.3.0", "tensorrt-10.3", 12, "cuda-12"), ("11.4.0", "tensorrt-11.4", 13, "cuda-13")]


def _functions(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.FunctionDef]]]:
    """Each function's name and all its overloads."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    yield from found.items()


def _names(function: ast.FunctionDef) -> list[str]:
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args)]


def _differences(stub: Path, module: ModuleType) -> list[str]:
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    wrong = [
        f"{name}{found}"
        for name, overloads in _functions(tree.body)
        for found in _unlike(overloads, getattr(module, name, None))
    ]
    for node in tree.body:
        fake = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
        if isinstance(node, ast.ClassDef) and inspect.isclass(fake):
            for name, overloads in _functions(node.body):
                wrong += [
                    f"{node.name}.{name}{found}"
                    for found in _unlike(overloads, inspect.getattr_static(fake, name, None))
                ]
    return wrong


def _parameters(fake: Any) -> list[str] | None:
    """Names as a caller of the bindings has them; None for what is no function."""
    if isinstance(fake, classmethod):  # a static method of the bindings
        return list(inspect.signature(fake.__func__).parameters)[1:]
    fake = fake.__func__ if isinstance(fake, staticmethod) else fake
    return list(inspect.signature(fake).parameters) if inspect.isfunction(fake) or inspect.ismethod(fake) else None


def _unlike(overloads: list[ast.FunctionDef], fake: Any) -> Iterator[str]:
    """How a fake's parameters differ from every overload of the real one; a fake need not have what is not used."""
    mine = _parameters(fake)
    if mine is None:
        return
    real = [_names(o) for o in overloads]
    # Boost.Python calls what has no name arg1, arg2; pybind11 calls it arg0.
    if not any(
        len(mine) <= len(r) and all(a == b or b.startswith("arg") for a, b in zip(mine, r, strict=False)) for r in real
    ):
        yield f"({', '.join(mine)}), really {real}"


@pytest.mark.parametrize(("tensorrt", "folder", "bindings", "cuda"), VERSIONS)
def test_the_fakes_have_the_real_signatures(tensorrt: str, folder: str, bindings: int, cuda: str) -> None:
    """Names and order of every parameter of every function and method that both have."""
    with installed(Gpu(), tensorrt=tensorrt, bindings=bindings):
        import pycuda.driver
        import tensorrt as trt
        from cuda.bindings import driver, nvrtc

        wrong = _differences(TYPINGS / folder / "tensorrt" / "__init__.pyi", trt)
        wrong += _differences(TYPINGS / cuda / "cuda" / "bindings" / "driver.pyi", driver)
        wrong += _differences(TYPINGS / cuda / "cuda" / "bindings" / "nvrtc.pyi", nvrtc)
        wrong += _differences(TYPINGS / "pycuda" / "pycuda" / "driver.pyi", pycuda.driver)
    assert [] == wrong


@pytest.mark.parametrize(("tensorrt", "folder", "bindings", "cuda"), VERSIONS)
def test_the_fakes_have_nothing_that_the_bindings_lack(tensorrt: str, folder: str, bindings: int, cuda: str) -> None:
    """A call of the backend that works on a fake alone would prove nothing."""
    del bindings, cuda
    tree = ast.parse((TYPINGS / folder / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8"))
    real = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    with installed(Gpu(), tensorrt=tensorrt):
        import tensorrt as trt

        extra = []
        for name, node in real.items():
            fake = getattr(trt, name, None)
            members = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            members |= {
                n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            }
            public = [m for m in vars(fake) if not m.startswith("_")] if inspect.isclass(fake) else []
            extra += [f"{name}.{m}" for m in public if m not in members and inspect.isfunction(vars(fake)[m])]
    assert [] == extra
