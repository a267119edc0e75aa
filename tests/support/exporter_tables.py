"""torch's exporter builds the same tables of operators in each export; tests, of which hundreds export, build them once.

They depend on the version of torch and on the opset alone, and are half of the time that a small network takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    from torch.export import exported_program
    from torch.onnx._internal.exporter import _decomp
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    build = cache(ONNXRegistry.from_torchlib)

    def copy_registry(**opset: int) -> ONNXRegistry:
        """One of an export's own, to which it adds what it translates itself."""
        own = copy(build(**opset))
        own.functions = {target: [*found] for target, found in own.functions.items()}
        return own

    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copy_registry))
    patch.setattr(utils, "_materialize_cpp_cia_ops", cache(utils._materialize_cpp_cia_ops))
    decompositions = cache(_decomp.create_onnx_friendly_decomposition_table)
    patch.setattr(
        _decomp, "create_onnx_friendly_decomposition_table", lambda registered: decompositions(frozenset(registered))
    )
    override = exported_program._override_composite_implicit_decomp
    patch.setattr(exported_program, "_override_composite_implicit_decomp", share_kernels(override))


def share_kernels(override: Callable[[Mapping[Any, Any]], Any]) -> Callable[[Mapping[Any, Any]], Any]:
    """Torch's override of how hundreds of operators decompose, with the kernels that it made for each of them the first time.

    They are taken again where the operator had the same kernels before and is to decompose alike.
    """
    from torch._subclasses import fake_impls

    known: dict[Any, tuple[Any, dict[Any, Any], dict[Any, Any], Any]] = {}

    @contextmanager
    def override_with_shared_kernels(chosen: Mapping[Any, Any]) -> Iterator[None]:
        before = {operator: operator.py_kernels.copy() for operator in chosen}
        new = {o: how for o, how in chosen.items() if o not in known or known[o][:2] != (how, before[o])}
        with override(new):
            for o, how in new.items():
                known[o] = (how, before[o], o.py_kernels.copy(), fake_impls.op_implementations_dict[o])
        try:
            for o in chosen:
                _set_kernels(o, known[o][2])
                fake_impls.op_implementations_dict.setdefault(o, known[o][3])
            yield
        finally:
            for o in chosen:
                _set_kernels(o, before[o])
                fake_impls._deregister_op_impl(o)

    return override_with_shared_kernels


def _set_kernels(operator: Any, kernels: Mapping[Any, Any]) -> None:
    operator.py_kernels.clear()
    operator.py_kernels.update(kernels)
    operator._dispatch_cache.clear()
