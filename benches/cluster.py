#!/usr/bin/env python3
"""Six years of Coffee, every day, 2,000 paths: one process with two threads against a scheduler and two
executors of one core each, in turn.

Bar: the cluster takes at most 1.15 of the embedded time.
"""

import contextlib
import json
import shutil
import statistics
import subprocess
import sys

import harness
from harness import Almanac

SPAN = ["--start", "2016-01-01", "--end", "2021-12-31"]
EXECUTORS = 2


def main() -> int:
    parser = harness.with_prices(harness.parser(__doc__.splitlines()[0]))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, alternately")
    parser.add_argument("--models", default="random_walk", help="catalog keys, separated by commas")
    arguments = parser.parse_args()
    models = arguments.models.split(",")

    embedded, clustered = [], []
    with harness.workplace(arguments) as work, cluster(arguments, work / "processes") as url:
        prices = harness.lake_of_prices(arguments, work / "prices")
        lake = work / "lake"
        # The first of each warms the page cache and the processes.
        for _ in range(arguments.rounds + 1):
            for runs, place in ((embedded, []), (clustered, ["--cluster", url])):
                harness.linked_copy(prices, lake)
                runs.append(backfill(arguments, lake, models, place))
                shutil.rmtree(lake)
    here, there = (harness.seconds(runs[1:]) for runs in (embedded, clustered))
    ratio = there["median"] / here["median"]
    pairs = [b.seconds / a.seconds for a, b in zip(embedded[1:], clustered[1:])]
    figures = {
        "models": models,
        "embedded_seconds": here,
        "cluster_seconds": there,
        "ratio": round(ratio, 3),
        "ratio_of_pairs": round(statistics.median(pairs), 3),
    }
    return harness.report("cluster", figures, {"ratio <= 1.15": ratio <= 1.15})


def backfill(arguments, lake, models: list[str], place: list[str]) -> harness.Run:
    done = Almanac(arguments, lake).job("backfill", *SPAN, *place, models=models)
    forecasts = done.json()["forecasts"]
    if forecasts != 2192 * len(models):
        sys.exit(f"{forecasts} forecasts were made, wanted {2192 * len(models)}")
    return done


@contextlib.contextmanager
def cluster(arguments, work):
    """The URL of a scheduler with its executors, on loopback ports that are free."""
    work.mkdir(parents=True)
    with contextlib.ExitStack() as processes:
        command = [arguments.binary.resolve(), "--json", "cluster"]
        scheduler = [*command, "scheduler", "--bind", "127.0.0.1:0", "--work-dir", work / "scheduler"]
        address = started(processes, scheduler)
        for _ in range(EXECUTORS):
            executor = [*command, "executor", "--bind", "127.0.0.1:0", "--scheduler", address]
            started(processes, [*executor, "--vcores", "1", "--work-dir", work / "executors"])
        yield f"df://{address}"


def started(processes: contextlib.ExitStack, command: list) -> str:
    """Starts a process that is ended with the stack; the address at which it says it is ready."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    processes.callback(process.wait)
    processes.callback(process.terminate)
    return json.loads(process.stdout.readline())["address"]


if __name__ == "__main__":
    sys.exit(main())
