"""The ONNX Runtime backend: sessions, stages cut from its optimised graph, shared packed weights, its errors."""
