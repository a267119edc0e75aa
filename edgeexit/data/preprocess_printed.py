"""Preprocessing as Python prints it: `str(weights.transforms())` of torchvision, and `str(Compose([...]))` of torchvision or timm."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from edgeexit.errors import InputError

_NO_CHANGE = frozenset({"PILToTensor", "MaybePILToTensor", "ToImage", "ToPILImage"})


def read_printed(text: str) -> dict[str, Any] | None:
    """The keys and values of a printed preprocessing; None where the text is of another kind.

    Raises:
        InputError: a step that a preprocessing does not have.
    """
    start = text.lstrip()
    if start.startswith("ImageClassification("):
        pairs = re.findall(r"(\w+)=(\[[^\]]*\]|[\w.]+)", text)
        return {name: ast.literal_eval(value) if value.startswith("[") else value for name, value in pairs}
    return _parse_steps(start) if start.startswith("Compose(") else None


def _parse_steps(text: str) -> dict[str, Any]:
    """Steps as keys and values, one a line: `Resize(size=256, interpolation=bilinear, max_size=None, antialias=True)`."""
    found: dict[str, Any] = {"upright": False, "scale": "1"}  # until a step makes numbers of 0 to 1
    for name, inside in re.findall(r"^\s*(\w+)\((.*)\)\s*,?$", text, re.MULTILINE):
        if name in _NO_CHANGE:
            continue
        if name not in _STEPS:
            msg = f"the step {name} is not supported: give the preprocessing of evaluation, or key=value."
            raise InputError(msg)
        found |= _STEPS[name](inside)
    return found


def _extract_value(inside: str, name: str) -> str:
    """`0.5, 0.4` of `mean=tensor([0.5, 0.4])`; the whole text where nothing is named."""
    match = re.search(rf"\b{name}=(?:tensor)?(\(*\[[^\]]*\]|\([^)]*\)|[\w.]+)", inside)
    return match[1].strip("()[] ") if match is not None else ""


def _resize(inside: str) -> dict[str, Any]:
    kind = _extract_value(inside, "interpolation").rpartition(".")[2]
    return {"resize": _extract_value(inside, "size"), **({"interpolation": kind} if kind else {})}


_STEPS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Resize": _resize,
    "CenterCrop": lambda inside: {"size": _extract_value(inside, "size")},
    "Normalize": lambda inside: {"mean": _extract_value(inside, "mean"), "std": _extract_value(inside, "std")},
    "Grayscale": lambda _: {"channels": "grey"},
    "ToTensor": lambda _: {"scale": "1/255"},
    "MaybeToTensor": lambda _: {"scale": "1/255"},
    "ConvertImageDtype": lambda _: {"scale": "1/255"},
    "ToDtype": lambda inside: {"scale": "1/255"} if "scale=True" in inside else {},
}
