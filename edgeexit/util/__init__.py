"""Helpers that know nothing of early exit: files, units, documents, progress."""
