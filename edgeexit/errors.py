"""Errors of edgeexit, one tree.

    EdgeExitError                 base; never raised itself
    ├── InputError                an argument, a target, an array or a file of data is wrong        exit code 2
    │   ├── ModelError            a model cannot be taken as a multi-exit network                  exit code 2
    │   └── BundleError           a bundle is damaged, unsafe, too new, locked or not writable     exit code 2
    ├── TargetNotMet              nothing meets the target; names the nearest that can be met      exit code 1
    ├── MissingExtra              an optional package is not installed; names the command          exit code 3
    ├── HardwareMissing           the device, sensor or driver asked for is not there              exit code 3
    └── InternalError             a check of edgeexit's own work failed; please report it          exit code 3

Every message says what is wrong, with which values, and what to do. The command line prints it and ends with the exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

_LONGEST = 3000  # characters of a message; names in damaged files may be of any length


class EdgeExitError(Exception):
    """Base of every error that edgeexit raises on purpose.

    Example:
        >>> import edgeexit
        >>> try:
        ...     edgeexit.load("missing.eexit")
        ... except edgeexit.EdgeExitError as error:
        ...     print(type(error).__name__)
        BundleError
    """

    exit_code: ClassVar[int] = 3

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 500]} ... {text[-400:]}"


class InputError(EdgeExitError, ValueError):
    """An argument, a target, an array or a file of data is wrong.

    Example:
        >>> import edgeexit
        >>> try:
        ...     edgeexit.samples_needed("p99<=5ms, speed<=1")
        ... except edgeexit.InputError as error:
        ...     print("speed" in str(error))
        True
    """

    exit_code = 2


class ModelError(InputError):
    """A model cannot be taken as a multi-exit network.

    Example:
        >>> import edgeexit
        >>> try:
        ...     edgeexit.compile("lenet-digits.onnx", "one.eexit", exits=["no such output"])
        ... except edgeexit.ModelError as error:
        ...     print("no such output" in str(error))
        True
    """


class BundleError(InputError):
    """A bundle is damaged, unsafe, too new, locked or not writable.

    Attributes:
        calibration: the finished calibration that could not be written into its bundle; else None.
        written_to: the file that it was written to instead; else None.

    Example:
        >>> import edgeexit
        >>> try:
        ...     edgeexit.Bundle.open("missing.eexit")
        ... except edgeexit.BundleError as error:
        ...     print("missing.eexit" in str(error))
        True
    """

    calibration: Any = None
    written_to: Path | None = None


class TargetNotMet(EdgeExitError):  # noqa: N818 - an outcome, not a fault
    """Nothing meets the target. `nearest` is the nearest target of the same kind that can be met, or None.

    Example:
        >>> import edgeexit
        >>> table = edgeexit.ReplayTable.from_arrays(scores=[[0.9], [0.2]], correct=[[1, 1], [0, 1]], cost_s=[0.001, 0.003])
        >>> try:
        ...     edgeexit.optimise(table, "mean<=0.5ms")
        ... except edgeexit.TargetNotMet as error:
        ...     print(error.nearest)
        mean<=1ms
    """

    exit_code = 1

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


class MissingExtra(EdgeExitError):  # noqa: N818 - names what is missing
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed. It comes with: pip install "edgeexit[{extra}]"')


class HardwareMissing(EdgeExitError):  # noqa: N818 - names what is missing
    """The device, sensor or driver asked for is not there."""


class InternalError(EdgeExitError):
    """A check of edgeexit's own work failed."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of `known`, or an empty string when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6) if isinstance(name, str) else []
    return f" Did you mean {near[0]!r}?" if near else ""
