"""The exits of a network whose forward does not simply return them: at places of what it returns, or as outputs of its modules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from edgeexit.errors import InputError, ModelError
from edgeexit.exporter.published.recipe import ExitListing
from edgeexit.nets.forms import describe_structure


def list_exits(module: nn.Module, how: ExitListing) -> nn.Module:
    """The module as one whose forward returns its exits.

    Raises:
        InputError: no module has a name of the pattern.
    """
    if how.modules:
        return _ModuleOutputs(module, _find_modules(module, how.modules))
    return _ReturnedPlaces(module, how) if how.paths else module


def _find_modules(module: nn.Module, pattern: str) -> list[str]:
    written = re.escape(pattern).replace(r"\*", r"[^.]+")
    found = [name for name, _ in module.named_modules() if re.fullmatch(written, name)]
    if len(found) < 2:
        msg = f"{len(found)} modules of the network have a name like {pattern!r}, where its exits should be: it has another form."
        raise InputError(msg)
    return found


class _Listed(nn.Module):
    """A module that passes inputs on, whose names are those of the one inside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def input_module(self) -> nn.Module:
        """The module that takes the inputs."""
        return self.module


class _ModuleOutputs(_Listed):
    """The logits that some modules inside give, in order."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__(module)
        self.names = tuple(names)

    def forward(self, *inputs: Tensor, **named: Tensor) -> list[Tensor]:
        """Whatever the module inside takes."""
        seen: dict[str, Tensor] = {}

        def note(name: str) -> Any:
            return lambda _module, _inputs, output: seen.__setitem__(name, output)

        hooks = [self.module.get_submodule(name).register_forward_hook(note(name)) for name in self.names]
        try:
            self.module(*inputs, **named)
        finally:
            for hook in hooks:
                hook.remove()
        missing = [name for name in self.names if name not in seen]
        if missing:
            msg = f"forward does not run {', '.join(missing)}, where exits should be"
            raise ModelError(msg)
        return [seen[name] for name in self.names]


class _ReturnedPlaces(_Listed):
    """Logits, and scores where there are any, from places of what the module inside returns."""

    def __init__(self, module: nn.Module, how: ExitListing) -> None:
        super().__init__(module)
        self.how = how

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Whatever the module inside takes."""
        returned = self.module(*inputs, **named)
        logits = [value for path in self.how.paths for value in read_place(returned, path)]
        scores = [value for path in self.how.scores for value in read_place(returned, path)]
        return (logits, scores) if scores else logits


def read_place(returned: Any, path: str) -> list[Any]:
    """The values at a place such as `1.*.0`.

    Raises:
        ModelError: there is no such place; with what was returned.
    """
    values = [returned]
    try:
        for part in path.split("."):
            values = [inner for value in values for inner in _step(value, part)]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        msg = f"forward returned a {describe_structure(returned)}, which has nothing at {path!r}, where exits should be"
        raise ModelError(msg) from error
    return values


def _step(value: Any, part: str) -> list[Any]:
    if part in ("*", ":-1"):
        return list(value)[: -1 if part == ":-1" else None]
    if re.fullmatch(r"-?\d+", part):
        return [value[int(part)]]
    return [value[part] if isinstance(value, Mapping) else getattr(value, part)]
