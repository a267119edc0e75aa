"""Measurements that a sceptic would accept: timing, statistics, the protocol, results and their comparison."""
