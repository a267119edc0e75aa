"""Made-up answers and latencies of a network in two precisions, as tuning records them."""

from __future__ import annotations

import numpy as np

from edgeexit.calibration import parse_target
from edgeexit.calibration.device import MeasuredCosts
from edgeexit.tuning.answers import Judged, RecordedAnswers
from edgeexit.tuning.choice import Chooser
from edgeexit.tuning.space import DecisionRule, EngineSetup
from edgeexit.tuning.store import SetupTiming

RULES = (DecisionRule("entropy"), DecisionRule("max_softmax", scaled=True), DecisionRule("running_mean"))


def make_chooser(seed: int, target: str, *, exits: int = 3, samples: int = 150, harm: float = 0.3) -> Chooser:
    """Three classes; later exits are better, and int8 is off by noise of size `harm`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=samples)
    clear = rng.uniform(0, 3, (samples, 1, 1)) * np.linspace(0.7, 1.3, exits)[None, :, None]
    logits = (clear * np.eye(3)[labels][:, None] + 0.7 * rng.standard_normal((samples, exits, 3))).astype(np.float32)
    rounded = (logits + harm * rng.standard_normal(logits.shape)).astype(np.float32)
    macs = rng.uniform(1, 2, exits)
    answers = {
        name: RecordedAnswers(found, None, macs, 0.1 * macs[:-1])
        for name, found in (("float32", logits), ("int8", rounded))
    }
    judged = Judged(answers, labels, answers["float32"].labels)
    return Chooser(parse_target(target), judged.fit(), samples)


def make_timing(seed: int, precision: str, mode: str = "staged", *, exits: int = 3, error: float = 0.02) -> SetupTiming:
    """Random latencies that rise with the exits."""
    rng = np.random.default_rng(seed)
    typical_s = np.cumsum(rng.uniform(0.5, 1.5, exits)) * rng.uniform(0.3, 1.5) * 1e-3
    whole = float(typical_s[-1])
    costs = MeasuredCosts(
        cost_s=tuple(t * rng.uniform(0.95, 1.05, 20) for t in typical_s),
        typical_s=typical_s,
        backbone_s=np.full(20, 0.9 * whole),
        backbone_typical_s=0.9 * whole,
        error=error,
        ratio_error=error,
        drift=0.0,
        spread=0.0,
    )
    return SetupTiming(EngineSetup(precision, "onnxruntime", mode, 1), costs, 3e-3, 1.0)
