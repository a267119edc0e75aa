"""`edgeexit version`: the version of edgeexit and of what it runs on."""

from __future__ import annotations

import platform

import typer

from edgeexit.cli.common import Json, emit


def version_command(as_json: Json = False) -> None:
    """Show the version of edgeexit, of Python and of the packages that it runs on.

    Example: edgeexit version
    """
    import edgeexit
    from edgeexit.hardware.identity import find_package_version

    names = ("onnxruntime", "onnx", "numpy")
    packages = {name: found for name in names if (found := find_package_version(name)) is not None}
    versions = {"edgeexit": edgeexit.__version__, "python": platform.python_version(), **packages}
    lines = (f"{name} {version}" for name, version in versions.items())
    emit({"schema": "edgeexit.version/1", **versions}, lambda: typer.echo("\n".join(lines)), as_json=as_json)
