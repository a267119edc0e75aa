"""Which parameters of a network a phase trains, and which of its modules stay as in use meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from edgeexit.errors import InputError, did_you_mean


def matches_pattern(name: str, pattern: str) -> bool:
    """Whether a parameter's name is the pattern, lies in a module of that name, or matches it with `*`, `?` and `[...]`.

    Example:
        >>> matches_pattern("heads.0.fc.weight", "heads"), matches_pattern("heads.0.fc.weight", "heads.*.bias")
        (True, False)
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def require_match(what: str, pattern: str, names: Sequence[str]) -> None:
    """Raise an error where no name matches.

    Raises:
        InputError: with the nearest name of a parameter or module.
    """
    if any(matches_pattern(name, pattern) for name in names):
        return
    modules = list(dict.fromkeys(prefix for name in names for prefix in _list_prefixes(name)))
    tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
    near = did_you_mean(pattern.removesuffix(".*"), modules)
    msg = f"{what} names {pattern!r}, and no parameter matches.{near} There are: {', '.join(tops) or 'none'}."
    raise InputError(msg)


def _list_prefixes(name: str) -> Iterable[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


@contextmanager
def train_only(module: nn.Module, patterns: Sequence[str]) -> Iterator[None]:
    """Let only the parameters whose names match one of the patterns be trained in the body; afterwards all are as they were.

    What the module itself has frozen, such as the network that `edgeexit.add_exits` gave exits, stays so.

    Raises:
        InputError: a pattern that no parameter matches, or nothing to train.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        require_match("train", pattern, list(parameters))
    before = {name: p.requires_grad for name, p in parameters.items()}
    try:
        for name, parameter in parameters.items():
            wanted = any(matches_pattern(name, pattern) for pattern in patterns)
            parameter.requires_grad_(before[name] and wanted)
        if not any(p.requires_grad for p in parameters.values()):
            msg = "there is nothing to train: every parameter is frozen; name in `train` what is to be trained"
            raise InputError(msg)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def set_training_mode(module: nn.Module, patterns: Sequence[str]) -> None:
    """Put the module into training mode, and what is frozen in it into evaluation mode.

    A module that holds parameters is frozen if all of them are: its batch norms keep their statistics, and nothing is dropped in it. One
    without any, such as a dropout, goes with the module around it; where that one holds both kinds, with the patterns.
    """
    module.train()
    if all(p.requires_grad for p in module.parameters()):
        return
    _set_mode(module, "", patterns)


def _set_mode(module: nn.Module, name: str, patterns: Sequence[str]) -> None:
    trained = {p.requires_grad for p in module.parameters()}
    if len(trained) == 1:
        module.train(trained.pop())
        return
    if not trained:
        module.train(any(matches_pattern(name, pattern) for pattern in patterns))
        return
    for child_name, child in module.named_children():
        _set_mode(child, f"{name}.{child_name}" if name else child_name, patterns)
