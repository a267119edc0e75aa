"""Small files of the kernel, read without surprises: what is not there, or may not be read, is None."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """The file's text without surrounding white space and NULs, or None.

    A sensor of a powered-off domain answers EAGAIN and a device-tree string ends in NUL; both are ordinary here.
    """
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The file's whole number, or None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_strings(path: Path) -> tuple[str, ...]:
    """The NUL-separated strings of a device-tree property, () where it does not exist."""
    text = read_text(path)
    return tuple(part for part in text.split("\0") if part) if text else ()


def explain_unreadable(path: Path) -> str | None:
    """None when the file can be read, else the system's own words for why not."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror or str(error)
    return None
