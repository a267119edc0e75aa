"""Data sets larger than memory, or than one machine: replay tables in shards, and batches answered by many processes.

write_shards(runner, blocks, "replay/")                 every exit on every sample, shard by shard, on this machine
write_shards_with_ray(dataset, "lenet.eexit", "replay/")   the same by workers of Ray (extra [ray])
optimise_parts(ShardedTable.open("replay/"), target)    thresholds, within a stated gap of the best
choose_thresholds(runner, table, target, samples)       the same, with the latencies of the exits measured here
dataset.map_batches(Classifier, ...)                    answers, by Ray Data
"""

from edgeexit.scale.blocks import choose_rows, cut_blocks
from edgeexit.scale.choosing import choose_thresholds
from edgeexit.scale.classifier import BatchClassifier as Classifier
from edgeexit.scale.ray_replay import Replayer, make_blank, replay_data_with_ray, write_shards_with_ray
from edgeexit.scale.shards import ShardedTable, write_shards

__all__ = [
    "Classifier",
    "Replayer",
    "ShardedTable",
    "choose_rows",
    "choose_thresholds",
    "cut_blocks",
    "make_blank",
    "replay_data_with_ray",
    "write_shards",
    "write_shards_with_ray",
]
