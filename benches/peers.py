#!/usr/bin/env python3
"""How good and how fast: almanac and statsforecast on the same M4 series, in one run.

Every set goes through `almanac score` and then through statsforecast, on one and the same core, a
process each, statsforecast after its compilation. The scorers are proved first: Naive, sNaive and
Naive 2 must come out as published for the two complete sets, of m4.py and of the binary.
Bars: pooled OWA at most 1.005 of the peer's, of combinations at most the peer's, and the peer's CPU time at
least 10, 5 or 2 times ours; and what the combinations are to reach on the complete sets with seasons of their own.
A complete run (no --sets, --models or --series) rewrites its section of docs/benchmarks.md.
Needs the packages of benches/requirements.txt in the Python that runs it.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time

import comparison
import harness
import m4
import numpy as np
import pages
from comparison import Comparison, Naive2, Pair, Result
from pages import Bar

COMMAND = "/tmp/peers/bin/python benches/peers.py"
ETS, CES, THETA, ARIMA = "AutoETS", "AutoCES", "DynamicOptimizedTheta", "AutoARIMA"
OF_FOUR = "median of AutoARIMA, AutoETS, AutoCES, DynamicOptimizedTheta"
OF_THREE = "median of AutoETS, AutoCES, DynamicOptimizedTheta"
MEDIANS = {OF_FOUR: [ETS, ARIMA, THETA, CES], OF_THREE: [ETS, CES, THETA]}
"""Peers made of others: the median of their point forecasts, in the time of them all."""
TOO_SLOW = {("hourly", ARIMA)}
"""Nearly a minute of CPU time for each of 414 series."""
PAIRS = [
    Pair("auto_ets", ETS, faster=10),
    Pair("auto_arima", ARIMA, faster=10),
    Pair("dot", THETA, faster=5),
    Pair("auto_ces", CES, faster=2),
    Pair("scum", OF_FOUR, faster=10, close=1.0),
    Pair("ets_ces_dot", OF_THREE, faster=10, close=1.0),
]
AIMS = [
    ("weekly", (52,), "scum", 0.80),
    ("weekly", (52,), "ets_ces_dot", 0.80),
    ("hourly", (24, 168), "multi_seasonal_combination", 0.44),
]
"""OWA that a model given these seasons is to reach on a set."""


def main() -> int:
    arguments = parse()
    chosen = [one for one in m4.SETS if one.name in arguments.sets]
    if arguments.peer:
        print(json.dumps(measure_peers(arguments.peer, chosen[0], arguments.peers)))
        return 0

    stay_on_one_core()
    bars = list(prove(arguments))
    paired = {pair.ours: pair for pair in PAIRS}
    compared = Comparison([paired.get(key, Pair(key)) for key in arguments.models])
    with harness.workplace(arguments) as work:
        for one in chosen:
            file = arguments.data / one.file
            if arguments.series:
                file = m4.thinned(file, arguments.series, work / one.file)
            series = m4.read(file, one.horizon)
            naive2 = Naive2(*m4.benchmark(m4.naive2, series, one.season_length), len(series))
            results = score(arguments, one, file, arguments.models) | peers(one, file, compared.pairs, naive2)
            tell(one, results)
            compared.naive2[one.name], compared.results[one.name] = naive2, results
    bars += compared.bars()
    bars += aims(arguments, [one for one in chosen if not arguments.series])

    published = None if arguments.series else m4.published(arguments.data)
    used = versions(arguments)
    section = compared.section(COMMAND, used, bars, published)
    print(section, file=sys.stderr)
    if arguments.complete:
        pages.replace_section(arguments.docs, section)
    else:
        print(f"{arguments.docs} stays as it is: this was not the complete run", file=sys.stderr)
    figures = {
        "versions": used,
        "sets": {
            name: {model: dataclasses.asdict(result) for model, result in of_set.items()}
            for name, of_set in compared.results.items()
        },
        "measured": {bar.text: bar.measured for bar in bars},
    }
    return harness.report("peers", figures, {bar.text: bar.passed for bar in bars})


def parse() -> argparse.Namespace:
    sets, models = [one.name for one in m4.SETS], [pair.ours for pair in PAIRS]
    data = harness.SHARED / "data"
    found = harness.parser(__doc__.splitlines()[0])
    found.set_defaults(threads=1)
    found.add_argument("data", type=pathlib.Path, nargs="?", default=data, help="the folder of the M4 files")
    found.add_argument("--sets", type=comma_separated, default=sets, metavar="SET,…", help=f"of {', '.join(sets)}")
    found.add_argument("--models", type=comma_separated, default=models, metavar="KEY,…", help="catalog keys")
    found.add_argument("--series", type=int, metavar="N", help="only N series of each set, evenly spaced")
    found.add_argument("--docs", type=pathlib.Path, default=pages.PAGE, help="the page whose section is rewritten")
    found.add_argument("--peer", type=pathlib.Path, help=argparse.SUPPRESS)
    found.add_argument("--peers", type=json.loads, help=argparse.SUPPRESS)
    arguments = found.parse_args()
    if unknown := set(arguments.sets) - set(sets):
        found.error(f"no set `{unknown.pop()}`; there are {', '.join(sets)}")
    arguments.complete = not arguments.series and (arguments.sets, arguments.models) == (sets, models)
    return arguments


def comma_separated(text: str) -> list[str]:
    return text.split(",")


def stay_on_one_core() -> None:
    """This process and what it starts; no library there may have more threads."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    with contextlib.suppress(AttributeError):  # Not every system can.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def prove(arguments: argparse.Namespace):
    """The published figures of the simplest methods, recomputed for the complete sets."""
    published = m4.published(arguments.data)
    methods = {"Naive": (m4.naive, "naive"), "sNaive": (m4.seasonal_naive, "seasonal_naive"), "Naive2": (m4.naive2, None)}
    for one in (one for one in m4.SETS if one.complete):
        file = arguments.data / one.file
        series = m4.read(file, one.horizon)
        binary = score(arguments, one, file, [key for _, key in methods.values() if key])
        for method, (function, key) in methods.items():
            wanted = tuple(float(published[method][f"{measure}_{one.complete}"]) for measure in ("sMAPE", "MASE"))
            found = {"m4.py": m4.benchmark(function, series, one.season_length)}
            if key:
                found["`almanac score`"] = (binary[key].smape, binary[key].mase)
            for scorer, figures in found.items():
                text = f"{method} on {one.complete} by {scorer}: sMAPE {wanted[0]:.3f}, MASE {wanted[1]:.3f}, as published"
                same = all(abs(figure - want) < 0.00051 for figure, want in zip(figures, wanted))
                yield Bar(text, f"{figures[0]:.3f}, {figures[1]:.3f}", same)


def aims(arguments: argparse.Namespace, chosen: list[m4.Set]):
    for one in chosen:
        for _, seasons, model, most in (aim for aim in AIMS if aim[0] == one.name):
            found = score(arguments, one, arguments.data / one.file, [model], seasons)[model].owa
            text = f"{model} on {one.name}, told of seasons of {' and '.join(map(str, seasons))}: OWA ≤ {most}"
            yield Bar(text, f"{found:.4f}", found <= most)


def score(
    arguments: argparse.Namespace,
    one: m4.Set,
    file: pathlib.Path,
    models: list[str],
    told: tuple[int, ...] | None = None,
) -> dict[str, Result]:
    """Ours; models are told of the set's seasons or others."""
    columns = ["--id", "unique_id", "--time", "ds", "--value", "y"]
    told = ",".join(map(str, told or one.seasons))
    seasons = ["--season-length", one.season_length, "--model-season-length", told]
    options = ["--threads", arguments.threads, "--json", "-q"]
    command = [arguments.binary.resolve(), *options, "score", file, *columns, *seasons]
    command += ["--horizon", one.horizon, "--models", ",".join(models)]
    rows = harness.run(command, accept=(0, 3)).json()["models"]
    fields = [field.name for field in dataclasses.fields(Result)]
    found = {row["model"]: Result(**{name: row[name] for name in fields}) for row in rows}
    unscored = [name for name in models if name not in found or not found[name].series]
    if unscored:
        sys.exit(f"{one.name}: `score` has nothing for {', '.join(unscored)}")
    return found


def peers(one: m4.Set, file: pathlib.Path, pairs: list[Pair], naive2: Naive2) -> dict[str, Result]:
    """Theirs, of a process of its own."""
    wanted = [pair.theirs for pair in pairs if pair.theirs]
    wanted = [name for name in wanted if not any((one.name, part) in TOO_SLOW for part in parts(name))]
    if not wanted:
        return {}
    done = harness.run([sys.executable, __file__, "--sets", one.name, "--peer", file, "--peers", json.dumps(wanted)])
    print(done.stderr, end="", file=sys.stderr)
    return {name: Result(owa=naive2.owa(row["smape"], row["mase"]), **row) for name, row in done.json().items()}


def parts(peer: str) -> list[str]:
    return MEDIANS.get(peer, [peer])


def measure_peers(file: pathlib.Path, one: m4.Set, wanted: list[str]) -> dict[str, dict]:
    """In the peer's process: point forecasts of every series, and the CPU time they took."""
    import warnings

    from statsforecast import models

    warnings.filterwarnings("ignore")
    series = m4.read(file, one.horizon)
    forecasts: dict[str, list[np.ndarray | None]] = {}
    seconds: dict[str, float] = {}
    for name in dict.fromkeys(part for peer in wanted for part in parts(peer)):
        make = getattr(models, name)
        for each in (series[0], series[-1]):  # Compiles what is to be compiled.
            forecast(make, one, each.history)
        started = time.process_time()
        forecasts[name] = [forecast(make, one, each.history) for each in series]
        seconds[name] = time.process_time() - started
    for name in wanted:
        if name in MEDIANS:
            of_parts = zip(*(forecasts[part] for part in parts(name)))
            forecasts[name] = [None if any(each is None for each in all_) else np.median(all_, axis=0) for all_ in of_parts]
            seconds[name] = sum(seconds[part] for part in parts(name))
    return {name: measured(one, series, forecasts[name], seconds[name]) for name in wanted}


def forecast(make, one: m4.Set, history: np.ndarray) -> np.ndarray | None:
    """None where the model gives up, or gives no number."""
    try:
        points = make(season_length=one.seasons[0]).forecast(y=history, h=one.horizon)["mean"]
    except Exception as error:  # Whatever a library raises for a series is that series' failure.
        print(f"{one.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return points if np.isfinite(points).all() else None


def measured(one: m4.Set, series: list[m4.Series], forecasts: list[np.ndarray | None], seconds: float) -> dict:
    made = [(each, points) for each, points in zip(series, forecasts) if points is not None]
    if not made:
        sys.exit("no series could be forecast")
    return {
        "smape": float(np.mean([m4.smape(each.actual, points) for each, points in made])),
        "mase": float(np.mean([m4.mase(each, points, one.season_length) for each, points in made])),
        "series": len(made),
        "failed": len(series) - len(made),
        "series_per_cpu_second": len(series) / seconds,
    }


def tell(one: m4.Set, results: dict[str, Result]) -> None:
    for name, result in results.items():
        speed = f"{comparison.rate(result.series_per_cpu_second)} series per CPU second"
        print(f"{one.name:<10} {name:<66} OWA {result.owa:.4f}, {speed}, {result.failed} failed", file=sys.stderr)


def versions(arguments: argparse.Namespace) -> dict[str, str]:
    almanac = harness.run([arguments.binary.resolve(), "--version"]).stdout.split(maxsplit=1)[1].strip()
    packages = {name: importlib.metadata.version(name) for name in ("statsforecast", "numba", "numpy")}
    return {"almanac": almanac, "Python": platform.python_version(), **packages}


if __name__ == "__main__":
    sys.exit(main())
