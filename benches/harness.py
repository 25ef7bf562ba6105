"""What the benchmark scripts share: running a process and weighing it, lakes to measure on, figures.

Only the standard library is imported here: a child's peak memory counts from the moment it is
forked, so a parent that had loaded numpy would be weighed with it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished process."""

    seconds: float
    """Wall time, start-up included."""
    cpu_seconds: float
    peak_rss: int
    """Bytes."""
    stdout: str
    stderr: str

    def json(self) -> dict:
        return json.loads(self.stdout)


def run(command: list, accept: tuple[int, ...] = (0,)) -> Run:
    """Runs a command to its end; one with another exit code ends the benchmark with its own words."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if process.returncode not in accept:
        sys.exit(f"`{' '.join(command)}` ended with {process.returncode}:\n{texts[1]}{texts[0]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, *texts)


class Almanac:
    """The binary, on one lake."""

    def __init__(self, arguments: argparse.Namespace, lake: pathlib.Path):
        self.binary, self.threads, self.lake = arguments.binary.resolve(), arguments.threads, lake

    def __call__(self, *command, accept: tuple[int, ...] = (0,)) -> Run:
        options = ["--lake", self.lake, "--threads", self.threads, "--json", "-q"]
        return run([self.binary, *options, *command], accept)

    def job(self, kind: str, *options, commodity="Coffee", models: list[str]) -> Run:
        """A training or forecasting job that must not fail in any unit."""
        series = ["--commodity", commodity, "--models", ",".join(models)]
        cadence = ["--frequency", "semiannually", "--model-version", "v1.0"]
        done = self(kind, *series, *cadence, *options)
        report = done.json()
        failed = report["train_failed"] + report["forecast_failed"]
        if failed:
            sys.exit(f"{kind}: {failed} units failed, for example {report['failures'][:3]}")
        return done


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--binary", type=pathlib.Path, default=default_binary(), help="the release almanac")
    found.add_argument("--threads", type=int, default=2, help="threads of the embedded engine")
    found.add_argument("--work", type=pathlib.Path, help="an empty or reused folder; default a temporary one")
    return found


def with_prices(found: argparse.ArgumentParser) -> argparse.ArgumentParser:
    default = SHARED / "data" / "unified_data.parquet"
    found.add_argument("--data", type=pathlib.Path, default=default, help="prices with a `Coffee` since 2013")
    return found


def default_binary() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    built = os.environ.get("CARGO_TARGET_DIR")
    folders = [built] if built else [ROOT / "target", pathlib.Path(cache) / "almanac" / "target"]
    binaries = [pathlib.Path(folder) / "release" / "almanac" for folder in folders]
    return next((binary for binary in binaries if binary.exists()), binaries[0])


@contextlib.contextmanager
def workplace(arguments: argparse.Namespace):
    """The folder to work in; a temporary one is removed afterwards."""
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
        yield arguments.work.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="almanac-bench-") as folder:
            yield pathlib.Path(folder)


def lake_of_prices(arguments: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """A lake with prices and nothing else."""
    if not (folder / "_almanac" / "lake.json").exists():
        almanac = Almanac(arguments, folder)
        almanac("init")
        almanac("ingest", arguments.data)
    return folder


def six_year_lake(arguments: argparse.Namespace, folder: pathlib.Path, models: list[str], *options) -> pathlib.Path:
    """Coffee, every day of 2016 to 2021 but the last, which `daily` may then add."""
    if not folder.exists():
        lake_of_prices(arguments, folder)
        span = ["--start", "2016-01-01", "--end", "2021-12-30"]
        Almanac(arguments, folder).job("backfill", *span, *options, models=models)
    return folder


def linked_copy(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """A copy that shares the files: a lake only ever adds, replaces and deletes whole files."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)
    return target


def live_files(lake: pathlib.Path, table: str) -> list[dict]:
    """The Add actions in force in a table, from its log."""
    live: dict[str, dict] = {}
    for commit in sorted((lake / table / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in commit.read_text().splitlines() if line]
        for action in actions:
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
        for action in actions:
            if "add" in action:
                live[action["add"]["path"]] = action["add"]
    return list(live.values())


def table_bytes(lake: pathlib.Path, table: str) -> int:
    return sum(file["size"] for file in live_files(lake, table))


def seconds(runs: list[Run]) -> dict:
    """Wall times, shortest first, and their median."""
    times = sorted(round(run.seconds, 3) for run in runs)
    return {"median": round(statistics.median(times), 3), "all": times}


def mib(size: float) -> float:
    return round(size / MIB, 1)


def report(name: str, figures: dict, bars: dict[str, bool]) -> int:
    """Prints the one line of figures; the exit code says whether every bar is cleared."""
    line = {"benchmark": name, "machine": machine(), **figures, "bars": bars}
    print(json.dumps(line, ensure_ascii=False))
    return 0 if all(bars.values()) else 1


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} cores, {model}"
