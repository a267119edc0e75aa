"""A simulated GPU behind fakes of pycuda, cuda-python and TensorRT, which keep their documented contracts and record what is called.

Work put onto a stream runs when the stream is waited for, not before: results read too early are stale, and memory freed too early is
caught. What breaks a rule of the documentation is a `Violation`, also when the code under test would have got away with it on most GPUs.
"""

from tests.support.simulated.gpu import Gpu, Violation
from tests.support.simulated.install import installed

__all__ = ["Gpu", "Violation", "installed"]
