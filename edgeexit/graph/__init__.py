"""Framework-neutral ONNX graph surgery: read a model, find its exits, append the criterion, split, fuse, count the cost.

    read_model ─► find_exits ─► add_scores ─► split ─► stage models
                                                 └──► fuse ─► one model of nested If

Nothing here runs a network; `probe` (in `backends`) tells the shapes that inference cannot.
"""

from edgeexit.graph.cost import StageCost, count_costs
from edgeexit.graph.exits import Exit, find_exits
from edgeexit.graph.external_data import WeightFile
from edgeexit.graph.fuse import fuse
from edgeexit.graph.model import Network, TensorSpec, read_model
from edgeexit.graph.scores import ScoredExit, add_scores
from edgeexit.graph.split import build_backbone_model, build_stage_model, split
from edgeexit.graph.stage import Stage

__all__ = [
    "Exit",
    "Network",
    "ScoredExit",
    "Stage",
    "StageCost",
    "TensorSpec",
    "WeightFile",
    "add_scores",
    "build_backbone_model",
    "build_stage_model",
    "count_costs",
    "find_exits",
    "fuse",
    "read_model",
    "split",
]
