"""Data without torch: named sets, .npz files, image folders; splits that are fixed by seed; what may not overlap with what.

load_data("digits:test")            shipped with edgeexit
load_data("mnist:calibration")      from $EDGEEXIT_DATA or ~/.cache/edgeexit
load_data("samples.npz")            x [n, ...], y [n]
load_data("photos/")                one sub-folder per class
"""

from __future__ import annotations

from edgeexit.data.dataset import Dataset, check_labels, checked
from edgeexit.data.digits import demo_asset
from edgeexit.data.named import PARTS, SETS, load_data
from edgeexit.data.npz import read_npz, write_npz
from edgeexit.data.splits import indices_sha256, overlap, refuse_overlap, split_calibration, split_counts

__all__ = [
    "PARTS",
    "SETS",
    "Dataset",
    "check_labels",
    "checked",
    "demo_asset",
    "indices_sha256",
    "load_data",
    "overlap",
    "read_npz",
    "refuse_overlap",
    "split_calibration",
    "split_counts",
    "write_npz",
]
