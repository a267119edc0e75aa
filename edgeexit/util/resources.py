"""The data files that travel with edgeexit, and how a TOML file is read; nothing else knows where they live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgeexit.errors import InputError, InternalError
from edgeexit.util.arguments import check_regular_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind: TypeAlias = Literal["devices", "recipes", "schemas", "suites"]

_IN_A_CHECKOUT = {
    "devices": "devices",
    "recipes": "calibrate/recipes",
    "schemas": "schemas",
    "suites": "benchmarks/suites",
}


def find_data_dir(kind: Kind) -> Path:
    """The folder of that kind of data file: the wheel carries it inside the package, a checkout beside it.

    Raises:
        InternalError: neither place has it, so the installation is damaged.
    """
    package = Path(__file__).resolve().parent.parent
    packaged = package / "_data" / kind
    checkout = package.parent / _IN_A_CHECKOUT[kind]
    for folder in (packaged, checkout):
        if folder.is_dir():
            return folder
    msg = (
        f"this installation has no {kind} files: neither {packaged} nor {checkout} is a folder. Install edgeexit again."
    )
    raise InternalError(msg)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        InputError: it cannot be read or is not TOML; the message has the line.
    """
    check_regular_file(path)
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}."
        raise InputError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not a TOML file: {error}."
        raise InputError(msg) from error
    except RecursionError as error:
        msg = f"{path} is not a file for edgeexit: its values are nested too deeply to be read."
        raise InputError(msg) from error
    return document
