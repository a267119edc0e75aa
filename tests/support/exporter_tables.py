"""torch's exporter builds the same tables of operators in each export; tests, of which hundreds export, build them once.

They depend on the version of torch and on the opset alone, and are half of the time that a small network takes.
"""

from __future__ import annotations

from copy import copy
from functools import cache, wraps
from typing import Any

import pytest


def share_exporter_tables(patch: pytest.MonkeyPatch) -> None:
    """From the first export of this process on."""
    import torch

    export = torch.onnx.export

    @wraps(export)
    def export_with_shared_tables(*arguments: Any, **options: Any) -> Any:
        _share_once(patch)
        return export(*arguments, **options)

    patch.setattr(torch.onnx, "export", export_with_shared_tables)


@cache
def _share_once(patch: pytest.MonkeyPatch) -> None:
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    build = cache(ONNXRegistry.from_torchlib)

    def copy_registry(**opset: int) -> ONNXRegistry:
        """One of an export's own, to which it adds what it translates itself."""
        own = copy(build(**opset))
        own.functions = {target: [*found] for target, found in own.functions.items()}
        return own

    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copy_registry))
    patch.setattr(utils, "_materialize_cpp_cia_ops", cache(utils._materialize_cpp_cia_ops))
