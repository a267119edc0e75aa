"""Packages as pip installs them: a module, and beside it the .dist-info folder that names its entry points."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs/own-criterion.md"


def install_distribution(
    folder: Path, name: str, source: str | None, entries: Mapping[str, str], *, version: str = "1.0"
) -> Path:
    """Install a package of one module into a folder.

    Args:
        folder: folder that is or will be on the path.
        name: name of the package and of its module.
        source: its code; None writes no module, as a broken installation leaves it.
        entries: criteria by name, such as `module:NAME`.
        version: its version.
    """
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "".join(f"{key} = {value}\n" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[edgeexit.criteria]\n{lines}")
    if source is not None:
        (folder / f"{name}.py").write_text(source)
    return folder


def install_documented_criterion(folder: Path) -> Path:
    """The package of docs/own-criterion.md, as the page has it."""
    page = _PAGE.read_text(encoding="utf-8")
    source, packaging = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "toml"))
    assert source is not None
    assert packaging is not None
    name, value = re.findall(r'^(\w+) = "(\w+:\w+)"$', packaging[1], re.MULTILINE)[-1]
    return install_distribution(folder, "best_of_two", source[1], {name: value})
