"""Exit criteria: what turns an exit's outputs into one score. Each is a NumPy reference and the same ONNX nodes, side by side.

Inside edgeexit every score is float32 and higher means more confident (an *inner* score); a sample leaves at the first exit with
``score >= t``; ``t = -inf`` always leaves and ``+inf`` never. Users see the criterion's own unit, and `Criterion.sign` is the only
difference: ``inner = sign * own``.

    entropy             H = -Σ p ln p, nats; leaves when H <= T      BranchyNet (Teerapittayanon 2016), section III-C; its print has
                                                                    the sign of H wrong and writes <
    normalized_entropy  H / ln(classes); leaves when <= T
    max_softmax         probability of the best class; leaves when >= T          MSDNet (Huang 2018), section 4
    margin              best minus second-best probability; leaves when >= T
    learned             the exit's own score output; leaves when >= T            EENet (Demir & Akbas 2019), section 3

Three combine the exits computed so far, in the graph, from tensors that earlier stages pass on:

    running_mean        probability of the best class of the mean of all exits' probabilities so far, each weighted by the cost of reaching
                        that exit costs in multiply-accumulates; leaves when >= T. The mean is the answer as well as the decision:
                        the exit's logits become ln(mean).            the ensemble of Qendro (2021), there with equal weights
    patience            number of exits in a row, this one included, whose best class is the same; leaves when >= T exits
                                                                                               PABEE (Zhou 2020), section 3
    learned_mean        π_k, the exit's own score, a probability of stopping there; leaves when >= T. The answer is ln(Σ_{j<=k} π_j p_j /
                        Σ_{j<=k} π_j), the mean of the exits so far weighted by π; π of the last exit is 1.
                                                                             re-weighted outcomes of Guan (2018), section 3.4

All are computed in float32 from log-softmax, so that logits up to ±1e38 give a finite score. A logit of -inf is a class that is masked:
its probability is 0, and so is its part of the entropy. A score is NaN only where a logit is NaN or +inf, or all are -inf (patience, which
counts labels, has none); NaN is never sure, so the sample goes on, whatever the threshold.

Logits may be divided by a temperature of each exit before all this, see `temperature`: scores and means change, labels do not.

Further ones may come from other packages, see `plugins`.
"""

from edgeexit.criteria.base import (
    Array,
    Combine,
    CombinedTensors,
    CombineNodes,
    Criterion,
    ExitOutputs,
    Nodes,
    Score,
)
from edgeexit.criteria.builtin import (
    CRITERIA,
    entropy,
    learned_mean,
    log_softmax,
    margin,
    max_softmax,
    normalized_entropy,
    patience,
    running_mean,
    softmax,
)
from edgeexit.criteria.lookup import criterion, find_known_criterion, list_criteria
from edgeexit.criteria.temperature import fit_temperatures

__all__ = [
    "CRITERIA",
    "Array",
    "Combine",
    "CombineNodes",
    "CombinedTensors",
    "Criterion",
    "ExitOutputs",
    "Nodes",
    "Score",
    "criterion",
    "entropy",
    "find_known_criterion",
    "fit_temperatures",
    "learned_mean",
    "list_criteria",
    "log_softmax",
    "margin",
    "max_softmax",
    "normalized_entropy",
    "patience",
    "running_mean",
    "softmax",
]
