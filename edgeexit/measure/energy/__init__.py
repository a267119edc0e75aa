"""Energy per inference: power traces aligned with calls, integrated, reported."""
