"""Early exits for a classifier that has none: `edgeexit adopt` on a plain network, its result recorded.

    python -m benchmarks plain_networks resnet20 -o runs/resnet20
    python -m benchmarks adopt resnet20 --run runs/resnet20 -o runs/resnet20-exits

The heads are trained on CIFAR-10's train part (40,000 images), places and thresholds are chosen on 10,000 others, and all figures are of
the 10,000 test images. Early exit is timed beside the network without exits, in turn, in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import torch

from benchmarks.experiments.plain_networks import NETWORKS
from edgeexit.adoption import AdoptionPlan, adopt_exits
from edgeexit.calibration import parse_target
from edgeexit.data import ModelInfo, open_training_parts
from edgeexit.hardware import find_device_key
from edgeexit.nets.weights import load_weights
from edgeexit.training.heads import HEAD_LOSSES, make_head_recipe
from edgeexit.util.atomic import write_bytes
from edgeexit.util.documents import to_document
from edgeexit.util.progress import count_on_one_line

RESULTS = Path(__file__).resolve().parents[1] / "results"


def read_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser("adopt", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--run", type=Path, required=True, help="folder of `plain_networks`")
    parser.add_argument("--out", "-o", type=Path, required=True)
    parser.add_argument("--target", default="drop<=0.5")
    parser.add_argument("--exits", type=int, default=2)
    parser.add_argument("--epochs", type=int, help="of the heads; the recipe's otherwise")
    parser.add_argument("--loss", choices=HEAD_LOSSES, default="both")
    parser.add_argument("--preset", default="adopt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch; the network is timed with one")
    parser.add_argument("--record", help="name of the record; adopt-NETWORK otherwise")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Adopt one network and record it."""
    args = read_arguments()
    torch.set_num_threads(args.threads)
    module = NETWORKS[args.network]()
    load_weights(module, args.run / "net.pt")
    plan = AdoptionPlan(
        target=parse_target(args.target),
        budget=args.exits,
        training=make_head_recipe(epochs=args.epochs, loss=args.loss),
        preset=args.preset,
        seed=args.seed,
    )
    parts = open_training_parts("cifar10", ModelInfo(args.network, ()))
    began, began_cpu = time.perf_counter(), time.process_time()
    result = adopt_exits(module.eval(), parts, args.out, plan, resume=args.resume, progress=count_on_one_line)
    document = {
        "command": shlex.join(["python", "-m", "benchmarks", "adopt", *sys.argv[1:]]),
        "seconds_of_this_call": round(time.perf_counter() - began, 1),
        "cpu_seconds_of_this_call": round(time.process_time() - began_cpu, 1),
        "torch_threads": args.threads,
        "plain": json.loads((args.run / "metrics.json").read_text()),
        "adoption": to_document(result),
    }
    path = RESULTS / find_device_key() / f"{args.record or f'adopt-{args.network}'}.json"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, (json.dumps(document, indent=2) + "\n").encode())
    print(f"{result.conclusion}\n{path}")


if __name__ == "__main__":
    main()
