"""What `peers.py` holds against each other: results of models and their peers, pooled, and their page."""

import dataclasses
import datetime
from collections.abc import Callable, Iterator

import harness
import m4
import pages
from pages import Bar

HEADING = "## Accuracy and speed beside statsforecast"
PUBLISHED = ["Petropoulos", "Montero-Manso", "Smyl", "Doornik", "Com", "Theta", "Naive2"]
"""Whose published OWA stands beside ours on the complete sets: the best, and the organisers' own."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model and what it is compared with."""

    ours: str
    theirs: str | None = None
    faster: float | None = None
    """The bar on the ratio of CPU times."""
    close: float = 1.005
    """The bar on the pooled OWA, as a multiple of the peer's."""


@dataclasses.dataclass(frozen=True)
class Result:
    """One model on one set, as `almanac score` tells it."""

    smape: float
    mase: float
    owa: float
    series: int
    failed: int
    series_per_cpu_second: float
    crps: float | None = None
    coverage_80: float | None = None
    coverage_95: float | None = None

    @property
    def cpu_seconds(self) -> float:
        return (self.series + self.failed) / self.series_per_cpu_second


@dataclasses.dataclass(frozen=True)
class Naive2:
    """What OWA holds a result against: Naive 2 on the series of a set, or of several."""

    smape: float
    mase: float
    series: int

    def owa(self, smape: float, mase: float) -> float:
        return (smape / self.smape + mase / self.mase) / 2


Cell = Callable[[Result], str]
Total = Callable[[Pair, str], str]


@dataclasses.dataclass
class Comparison:
    pairs: list[Pair]
    results: dict[str, dict[str, Result]] = dataclasses.field(default_factory=dict)
    """By set, then by model or peer."""
    naive2: dict[str, Naive2] = dataclasses.field(default_factory=dict)

    def sets_of(self, pair: Pair) -> list[str]:
        """The sets that a pair is pooled over: those that both ran."""
        return [name for name, of_set in self.results.items() if pair.theirs in (None, *of_set)]

    def pooled(self, sets: list[str], model: str, measure: str) -> float:
        """The mean over all series of the sets."""
        results = [self.results[name][model] for name in sets]
        return sum(getattr(one, measure) * one.series for one in results) / sum(one.series for one in results)

    def pooled_owa(self, sets: list[str], model: str) -> float:
        """As M4 totals it: both measures averaged over all series first, then held against Naive 2's."""
        count = sum(self.naive2[name].series for name in sets)
        smape, mase = (
            sum(getattr(self.naive2[name], measure) * self.naive2[name].series for name in sets) / count
            for measure in ("smape", "mase")
        )
        benchmark = Naive2(smape, mase, count)
        return benchmark.owa(self.pooled(sets, model, "smape"), self.pooled(sets, model, "mase"))

    def cpu_ratio(self, pair: Pair) -> float:
        """How many times our CPU time is theirs, over the sets of the pair."""
        theirs, ours = (
            sum(self.results[name][model].cpu_seconds for name in self.sets_of(pair)) for model in (pair.theirs, pair.ours)
        )
        return theirs / ours

    def bars(self) -> Iterator[Bar]:
        every = [(name, result) for name, of_set in self.results.items() for result in of_set.values()]
        failed = sum(result.failed for _, result in every)
        yield Bar("series that failed = 0, ours and theirs", str(failed), failed == 0)
        apart = max(abs(one.owa - self.naive2[name].owa(one.smape, one.mase)) for name, one in every)
        yield Bar("OWA by `almanac score` and by m4.py differ by ≤ 0.0005", f"{apart:.1e}", apart <= 0.0005)
        for pair in self.pairs:
            sets = self.sets_of(pair)
            if not (pair.theirs and sets):
                continue
            ratio = self.pooled_owa(sets, pair.ours) / self.pooled_owa(sets, pair.theirs)
            yield Bar(f"{pair.ours}: pooled OWA ≤ {pair.close} of the peer's", f"{ratio:.4f}", ratio <= pair.close)
            if pair.faster:
                times = self.cpu_ratio(pair)
                text = f"{pair.ours}: CPU time of the peer ≥ {pair.faster:g} times ours"
                yield Bar(text, f"{times:.1f}", times >= pair.faster)

    # The page.

    def section(self, command: str, versions: dict[str, str], bars: list[Bar], published: dict | None) -> str:
        """The section of docs/benchmarks.md, heading and all; `published` is of all complete sets."""
        today = datetime.datetime.now(datetime.timezone.utc).date()
        used = ", ".join(f"{name} {version}" for name, version in versions.items())
        sizes = ", ".join(f"{name} {naive2.series}" for name, naive2 in self.naive2.items())
        passed = sum(bar.passed for bar in bars)
        parts = [
            HEADING,
            f"```sh\n{pages.ENVIRONMENT}\n{command}\n```",
            f"Written by that command on {today}. Machine: {harness.machine()}. Versions: {used}.",
            "M4's own splits: no model sees the test rows. Weekly and Hourly are complete, the other sets are samples with "
            f"whole histories ({sizes} series). Both sides run on one core, one after the other. Times are CPU time of "
            "fitting and forecasting; statsforecast's is after its compilation, and for point forecasts only. Pooled is "
            "over all series, as M4 totals. A set for which the peer is too slow (–) is left out of what is pooled for "
            "both.",
            "OWA; Naive 2 is 1:",
            self.by_set("pooled", lambda one: f"{one.owa:.3f}", self.pooled_cell),
            "Series per CPU second, and how many times our CPU time the peer took over all its sets:",
            self.by_set("ratio", lambda one: rate(one.series_per_cpu_second), self.ratio_cell),
            "How well the distributions hold: CRPS in the units of MASE, and how many of the values the 80 % and the 95 % "
            "intervals cover:",
            self.spread(),
        ]
        if published:
            parts += ["The complete sets beside what the organisers published:", self.beside(published)]
        parts += [
            f"{passed} of {len(bars)} bars passed:",
            pages.bar_table(bars),
            "How fast models fit, refit near an earlier state, catch up with new observations and draw paths is measured by "
            "`cargo bench -p almanac-forecasters` ([speed.rs](../udfs/forecasters/benches/speed.rs)).",
        ]
        return pages.section(parts)

    def by_set(self, last: str, cell: Cell, total: Total, alone: bool = False) -> str:
        """A line for each model, its peer's below unless `alone`; a column for each set and one for all."""
        rows = []
        for pair in self.pairs:
            for model in (pair.ours, None if alone else pair.theirs):
                if model and self.sets_of(pair):
                    cells = [cell(of_set[model]) if model in of_set else "–" for of_set in self.results.values()]
                    rows.append([f"`{model}`" if model == pair.ours else model, *cells, total(pair, model)])
        return pages.table(["model", *self.results, last], rows)

    def pooled_cell(self, pair: Pair, model: str) -> str:
        return f"{self.pooled_owa(self.sets_of(pair), model):.4f}"

    def ratio_cell(self, pair: Pair, model: str) -> str:
        return f"**{self.cpu_ratio(pair):.1f}**" if pair.theirs and model == pair.ours else ""

    def spread(self) -> str:
        def cell(crps: float, in_80: float, in_95: float) -> str:
            return f"{crps:.3f}; {100 * in_80:.0f}, {100 * in_95:.0f} %"

        def total(_: Pair, model: str) -> str:
            return cell(*(self.pooled(list(self.results), model, measure) for measure in measures))

        measures = ("crps", "coverage_80", "coverage_95")
        return self.by_set("pooled", lambda one: cell(*(getattr(one, measure) for measure in measures)), total, alone=True)

    def beside(self, published: dict) -> str:
        complete = {one.name: one.complete for one in m4.SETS if one.complete and one.name in self.results}
        rows = [
            [f"`{pair.ours}`", *(f"{self.results[name][pair.ours].owa:.3f}" for name in complete)] for pair in self.pairs
        ]
        for method in PUBLISHED:
            figures = (float(published[method][f"OWA_{column}"]) for column in complete.values())
            rows.append([f"{method}, as published", *(f"{figure:.3f}" for figure in figures)])
        return pages.table(["OWA", *complete], rows)


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
