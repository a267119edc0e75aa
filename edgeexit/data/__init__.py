"""Data without torch: named sets, .npz files, image folders; splits that are fixed by seed; what may not overlap with what.

load_data("digits:test")            shipped with edgeexit
load_data("mnist:calibration")      from $EDGEEXIT_DATA or ~/.cache/edgeexit
load_data("samples.npz")            x [n, ...], y [n]
load_data("photos/")                one sub-folder per class
load_data("photos/", model)         prepared for a network's inputs
"""

from __future__ import annotations

from edgeexit.data.classes import DataWarning, read_class_names
from edgeexit.data.dataset import Dataset, check_labels, gather_samples, make_dataset
from edgeexit.data.digits import find_demo_asset
from edgeexit.data.fingerprint import Fingerprint, compute_fingerprint, read_fingerprint
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.named import PARTS, SETS, DataSource, load_data, open_data
from edgeexit.data.npz import read_npz, write_npz
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.preprocess_files import read_preprocess
from edgeexit.data.splits import find_overlap, hash_indices, split_calibration, split_counts
from edgeexit.data.streams import TrainingData, read_in_order
from edgeexit.data.training_parts import PartOptions, TrainingParts, open_training_parts

__all__ = [
    "PARTS",
    "SETS",
    "DataSource",
    "DataWarning",
    "Dataset",
    "Fingerprint",
    "InputSpec",
    "ModelInfo",
    "PartOptions",
    "Preprocess",
    "TrainingData",
    "TrainingParts",
    "check_labels",
    "compute_fingerprint",
    "find_demo_asset",
    "find_overlap",
    "gather_samples",
    "hash_indices",
    "load_data",
    "make_dataset",
    "open_data",
    "open_training_parts",
    "read_class_names",
    "read_fingerprint",
    "read_in_order",
    "read_npz",
    "read_preprocess",
    "split_calibration",
    "split_counts",
    "write_npz",
]
