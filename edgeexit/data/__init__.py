"""Data without torch: named sets, .npz files, image folders; splits that are fixed by seed; what may not overlap with what.

load_data("digits:test")            shipped with edgeexit
load_data("mnist:calibration")      from $EDGEEXIT_DATA or ~/.cache/edgeexit
load_data("samples.npz")            x [n, ...], y [n]
load_data("photos/")                one sub-folder per class
"""

from __future__ import annotations

from edgeexit.data.dataset import Dataset, check_labels, checked
from edgeexit.data.digits import demo_asset
from edgeexit.data.fingerprint import Fingerprint, fingerprint, read_fingerprint
from edgeexit.data.named import PARTS, SETS, load_data
from edgeexit.data.npz import read_npz, write_npz
from edgeexit.data.splits import indices_sha256, overlap, split_calibration, split_counts

__all__ = [
    "PARTS",
    "SETS",
    "Dataset",
    "Fingerprint",
    "check_labels",
    "checked",
    "demo_asset",
    "fingerprint",
    "indices_sha256",
    "load_data",
    "overlap",
    "read_fingerprint",
    "read_npz",
    "split_calibration",
    "split_counts",
    "write_npz",
]
