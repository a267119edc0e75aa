"""Cache behaviour: working sets, hardware counters, simulation, sweeps over thresholds."""
