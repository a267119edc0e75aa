"""The search for thresholds: the problem, the grid of candidates, pairwise search, branch and bound, fronts."""
