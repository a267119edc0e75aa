"""The kernel that compares a score with its threshold on the GPU, as PTX that every driver with conditional graphs takes.

Text of PTX ISA 7.0 (CUDA 11.0): a driver compiles it for its own GPU when it is loaded. Made on the machine by NVRTC it would be of the
newest ISA of whichever NVRTC pip found, and a driver refuses what is newer than itself ("unsupported PTX version"). `sm_50` is the oldest
GPU that it names; PTX is forward compatible (PTX ISA, ".target").
"""

from __future__ import annotations

import ctypes
from typing import Any

from edgeexit.backends.cuda.errors import CudaError, DeciderUnavailable, check_call

DECIDE_PTX = b"""\
.version 7.0
.target sm_50
.address_size 64

.extern .func cudaGraphSetConditional (.param .b64 condition, .param .b32 value);

.visible .entry edgeexit_decide (
    .param .u64 score,
    .param .u64 threshold,
    .param .u64 exit,
    .param .u32 number,
    .param .u64 condition
)
{
    .reg .pred %sure;
    .reg .f32 %s, %t;
    .reg .b32 %number, %unsure, %left;
    .reg .b64 %score, %threshold, %exit, %condition;

    ld.param.u64 %score, [score];
    ld.param.u64 %threshold, [threshold];
    ld.param.u64 %exit, [exit];
    ld.param.u32 %number, [number];
    ld.param.u64 %condition, [condition];
    cvta.to.global.u64 %score, %score;
    cvta.to.global.u64 %threshold, %threshold;
    cvta.to.global.u64 %exit, %exit;
    ld.global.f32 %s, [%score];
    ld.global.f32 %t, [%threshold];
    setp.ge.f32 %sure, %s, %t;
    selp.u32 %unsure, 0, 1, %sure;
    add.u32 %left, %number, %unsure;
    st.global.u32 [%exit], %left;
    {
        .param .b64 of;
        .param .b32 to;
        st.param.b64 [of], %condition;
        st.param.b32 [to], %unsure;
        call cudaGraphSetConditional, (of, to);
    }
    ret;
}
\0"""
"""One thread. `setp.ge` is false where a score is NaN, so it never passes its threshold: the next stage runs."""


class DecideKernel:
    """The kernel, loaded into the current context.

    Raises:
        DeciderUnavailable: the driver refuses it, with its reason.
    """

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._module: Any = None
        try:
            (self._module,) = check_call("cuModuleLoadData", driver.cuModuleLoadData(DECIDE_PTX))
            (self._function,) = check_call(
                "cuModuleGetFunction", driver.cuModuleGetFunction(self._module, b"edgeexit_decide")
            )
        except CudaError as error:
            self.close()
            raise DeciderUnavailable(f"the decision kernel cannot be loaded ({error})") from error

    def enqueue(self, stream: int, *, score: int, threshold: int, exit: int, number: int, condition: int) -> None:
        """Put one decision onto a stream: addresses of score, threshold and the int32 that gets the exit; its number; the condition."""
        from cuda.bindings import driver

        values = (score, threshold, exit, number, condition)
        kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64)
        launched = driver.cuLaunchKernel(self._function, 1, 1, 1, 1, 1, 1, 0, stream, (values, kinds), 0)
        check_call("cuLaunchKernel", launched)

    def close(self) -> None:
        """Unload it; may be called twice."""
        from cuda.bindings import driver

        if self._module is not None:
            driver.cuModuleUnload(self._module)
            self._module = None
