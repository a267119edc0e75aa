"""The artefact on disk: one folder that holds a split network, how it was made and verified, and its calibrations.

    lenet.eexit/
      manifest.json                      the one commit point; names every other file with its SHA-256, and ends with its own
      model-<hash>.onnx                  the whole network with its criterion, for rebuilding a stage
      backbone-<hash>.onnx               the network run directly to its last exit
      stage-<k>-<hash>.onnx              one per exit
      fused-<hash>.onnx                  the same split as one graph
      weights-<hash>.bin                 every large weight once; the models beside it point into it
      calibrations/<device>/<key>-<hash>.json     every calibration that was made; the manifest says which is active

Files are immutable and named by content. A writer holds the lock, writes new files, then replaces the manifest; a killed writer leaves
the old bundle or the new one. Nothing in a bundle is unpickled or executed as native code.
"""

from edgeexit.bundle.backend_comparison import BackendComparison
from edgeexit.bundle.bundle import Bundle, check_replaceable, copy_bundle, replace_bundle
from edgeexit.bundle.calibration_document import CalibrationDocument
from edgeexit.bundle.manifest import (
    SCHEMA,
    CalibrationEntry,
    CalibrationRecord,
    FileEntry,
    Manifest,
    ModeTiming,
    PreferredSettings,
    SourceModel,
    StageEntry,
    VerificationSummary,
)
from edgeexit.bundle.reading import read_manifest

__all__ = [
    "SCHEMA",
    "BackendComparison",
    "Bundle",
    "CalibrationDocument",
    "CalibrationEntry",
    "CalibrationRecord",
    "FileEntry",
    "Manifest",
    "ModeTiming",
    "PreferredSettings",
    "SourceModel",
    "StageEntry",
    "VerificationSummary",
    "check_replaceable",
    "copy_bundle",
    "read_manifest",
    "replace_bundle",
]
