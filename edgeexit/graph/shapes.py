"""Which operators take the shape of their outputs from the values of an input, as `NonZero` and `Slice` do."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import onnx

SHAPE_ONLY = frozenset({"Shape", "Size"})
"""Operators that read nothing of a tensor but its shape."""

_BY_VALUE: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "ImageDecoder": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "NonZero": (0,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "StringNormalizer": (0,),
    "StringSplit": (0,),
    "Tile": (1,),
    "TopK": (1,),
    "Unique": (0,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Operator to the inputs whose values give the shape of its outputs; every `Reduce…` takes its axes from input 1."""

_FIRST_SHAPE_ONLY = frozenset({"Scatter", "ScatterElements", "ScatterND", "TensorScatter"})
_PICKS = frozenset({"SequenceAt", "SequenceErase"})


def is_shape_data_dependent(
    node: onnx.NodeProto, varying: AbstractSet[str], data_dependent: AbstractSet[str], *, cautious: bool
) -> bool:
    """Whether the shape of a node's outputs may depend on the values of an input of the model.

    Args:
        node: without graphs inside it.
        varying: tensors whose values do.
        data_dependent: tensors whose shape does.
        cautious: also where a tensor is picked out of a sequence, whose tensors mostly have one shape.
    """
    if node.op_type in SHAPE_ONLY:
        return False
    places = (1,) if node.op_type.startswith("Reduce") else _BY_VALUE.get(node.op_type, ())
    if node.op_type in _PICKS and cautious:
        places = (1,)
    if any(node.input[i] in varying for i in places if i < len(node.input)):
        return True
    return any(name in data_dependent for name in (node.input[:1] if node.op_type in _FIRST_SHAPE_ONLY else node.input))
