"""Data sets larger than memory: replay tables in shards, and batches answered by many processes.

write_shards(runner, blocks, "replay/")                 every exit on every sample, shard by shard
optimise_parts(ShardedTable.open("replay/"), target)    thresholds, within a stated gap of the best
dataset.map_batches(Classifier, ...)                    answers, by Ray Data or anything else that gives columns
"""

from edgeexit.scale.classifier import BatchClassifier as Classifier
from edgeexit.scale.shards import ShardedTable, write_shards

__all__ = ["Classifier", "ShardedTable", "write_shards"]
