"""The ONNX Runtime backend: sessions, stages cut from its optimised graph, shared packed weights, its errors."""

from __future__ import annotations

from edgeexit.backends.onnxruntime.backend import BACKEND

__all__ = ["BACKEND"]
