"""Data without torch: named sets, .npz files, image folders; splits that are fixed by seed; what may not overlap with what.

load_data("digits:test")            shipped with edgeexit
load_data("mnist:calibration")      from $EDGEEXIT_DATA or ~/.cache/edgeexit
load_data("samples.npz")            x [n, ...], y [n]
load_data("photos/")                one sub-folder per class
load_data("photos/", model)         prepared for a network's inputs
"""

from __future__ import annotations

from edgeexit.data.classes import DataWarning, read_class_names
from edgeexit.data.dataset import Dataset, check_labels, checked
from edgeexit.data.digits import demo_asset
from edgeexit.data.fingerprint import Fingerprint, fingerprint, read_fingerprint
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.named import PARTS, SETS, Source, load_data, open_data
from edgeexit.data.npz import read_npz, write_npz
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.preprocess_files import read_preprocess
from edgeexit.data.splits import indices_sha256, overlap, split_calibration, split_counts

__all__ = [
    "PARTS",
    "SETS",
    "DataWarning",
    "Dataset",
    "Fingerprint",
    "InputSpec",
    "ModelInfo",
    "Preprocess",
    "Source",
    "check_labels",
    "checked",
    "demo_asset",
    "fingerprint",
    "indices_sha256",
    "load_data",
    "open_data",
    "overlap",
    "read_class_names",
    "read_fingerprint",
    "read_npz",
    "read_preprocess",
    "split_calibration",
    "split_counts",
    "write_npz",
]
