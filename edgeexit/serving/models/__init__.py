"""Models of Triton's Python backend. `edgeexit serve-export` copies them into a repository as they are, each as a `model.py`.

They run in the server, which has no edgeexit: they import NumPy, what the server gives them, and `onnx_model` ONNX Runtime.
"""
