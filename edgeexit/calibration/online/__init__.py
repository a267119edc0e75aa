"""Thresholds while a network serves: a controller that keeps a target, an alarm for drift."""
