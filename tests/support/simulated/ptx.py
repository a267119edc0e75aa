"""A kernel's PTX text, run: as many instructions as edgeexit's own kernel has, with the meaning that the PTX ISA gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Memory = Callable[[int, int], "NDArray[np.uint8]"]
_TYPES = {"f32": np.float32, "u32": np.uint32, "s32": np.int32}


class Kernel:
    """One `.entry` of a PTX text.

    Attributes:
        parameters: their names in order.
        instructions: opcode and operands, in order.
    """

    def __init__(self, text: bytes, name: bytes) -> None:
        found = re.search(rf"\.entry {name.decode()} \((.*?)\)\s*\{{(.*)\}}", text.decode(), re.DOTALL)
        assert found is not None, f"there is no kernel {name!r}"
        self.parameters = re.findall(r"\.param \.\w+ (\w+)", found.group(1))
        lines = [line.strip() for line in re.split(r"[;{}\n]", found.group(2))]
        self.instructions = [line.split(None, 1) for line in lines if line and not line.startswith(".")]

    def run(self, given: dict[str, Any], memory: Memory, conditions: dict[int, int]) -> None:
        """Run one thread of it."""
        values: dict[str, Any] = dict(given)
        for opcode, *rest in self.instructions:
            to, *of = re.findall(r"[%\w]+", rest[0]) if rest else ("",)
            read: list[Any] = [values.get(name, int(name) if name.isdecimal() else None) for name in of]
            kind = opcode.split(".")
            if opcode in ("ld.param.u64", "ld.param.u32", "cvta.to.global.u64") or opcode.startswith("st.param"):
                values[to] = read[0]
            elif opcode.startswith("ld.global"):
                values[to] = memory(read[0], 4).view(_TYPES[kind[2]])[0]
            elif opcode.startswith("st.global"):
                memory(values[to], 4).view(_TYPES[kind[2]])[0] = read[0]
            elif opcode == "setp.ge.f32":
                values[to] = bool(read[0] >= read[1])  # false where one of them is no number, as in the ISA
            elif opcode == "selp.u32":
                values[to] = read[0] if read[2] else read[1]
            elif opcode == "add.u32":
                values[to] = read[0] + read[1]
            elif opcode == "call":
                assert to == "cudaGraphSetConditional"
                conditions[read[0]] = int(read[1])
            else:
                assert opcode == "ret", f"{opcode} has no meaning here"
