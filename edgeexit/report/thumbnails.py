"""Small pictures of samples for a page, as PNG in the page itself."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_thumbnail(sample: NDArray[Any]) -> str | None:
    """A sample as a `data:` address of a PNG, its values from the least to the largest; None for what is no picture.

    Args:
        sample: [1 or 3, height, width], in any range.

    Example:
        >>> encode_thumbnail(np.eye(2)[None])[:27]
        'data:image/png;base64,iVBOR'
        >>> encode_thumbnail(np.zeros(5)) is None
        True
    """
    image = np.asarray(sample, np.float64)
    if image.ndim != 3 or len(image) not in (1, 3) or 0 in image.shape or not np.isfinite(image).all():
        return None
    low, high = image.min(), image.max()
    scaled = ((image - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_encode_png(scaled.transpose(1, 2, 0))).decode("ascii")


def _encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG (RFC 2083) of pixels [height, width, 1 or 3], 8 bits, no filter."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_make_chunk(kind, body) for kind, body in parts)


def _make_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
