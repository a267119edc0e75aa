"""The MNN backend: stages converted once by MNN's own converter, sessions for stages, modules for conditional graphs.

library      importing MNN without what it prints
conversion   from a stage's ONNX file to MNN's format, in a process of its own, kept in the user's cache
child        what that process does: convert, open, run once
sessions     staged and straight: MNN's sessions, bound to host buffers
modules      fused: its Module API, whose conditional runs one branch only
batches      any number of samples
backend      the backend
"""

from __future__ import annotations

from edgeexit.backends.mnn.backend import BACKEND

__all__ = ["BACKEND"]
