"""The harness of every benchmark: rounds over all contenders in turn, a table, a JSON file and a plot.

A script makes one ``Benchmark``, hands it contenders in groups and targets, and calls ``finish``. A contender is a
function that works once and returns its figures; it times itself, so that set-up and clean-up stay out of the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _machine import describe_machine, memory_available
from rich.console import Console
from rich.markup import escape
from rich.table import Table

GIB = 1 << 30
MIB = 1 << 20
SHARED_MEMORY = Path("/dev/shm")

#: The result of a contender: a figure for each metric, by name.
Figures = Mapping[str, float]


@dataclass
class Result:
    """All rounds of one metric of one contender. ``better`` is ``higher`` or ``lower``."""

    group: str
    metric: str
    contender: str
    unit: str
    better: str
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass
class Target:
    """A figure and its bound: at least or at most ``goal``, or None for a figure that only informs."""

    name: str
    figure: float
    goal: float | None
    unit: str
    at_least: bool

    @property
    def is_met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.figure >= self.goal if self.at_least else self.figure <= self.goal

    def to_json(self) -> dict[str, object]:
        """The target under the keys of the JSON file."""
        return {
            "name": self.name,
            "reached": self.figure,
            "wanted": self.goal,
            "unit": self.unit,
            "at_least": self.at_least,
            "met": self.is_met,
        }


class Benchmark:
    """One script's options, results and output.

    Args:
        name: the name of the benchmark, and of the files of results unless ``file`` is set.
        about: the docstring of the script; the first line is the title.
        packages: the distributions whose versions belong to the result.
        rounds: the runs of each contender, after one that does not count.
        quick_rounds: the same with ``--quick``.
        options: more options of the command line, with the arguments of ``add_argument``; ``options`` has their values.
    """

    def __init__(
        self,
        name: str,
        about: str,
        *,
        packages: list[str],
        rounds: int,
        quick_rounds: int = 2,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--quick", action="store_true", help="little data, few rounds: does it run at all?")
        parser.add_argument("--rounds", type=int, help=f"how often each contender runs (default {rounds})")
        parser.add_argument("--out", type=Path, help="folder of the results (default: results/, beside this script)")
        for option, arguments in (options or {}).items():
            parser.add_argument(option, **arguments)
        self.options = parser.parse_args()
        self.name = name
        self.file = name
        self.title = about.strip().splitlines()[0]
        self.quick: bool = self.options.quick
        self.rounds: int = self.options.rounds or (quick_rounds if self.quick else rounds)
        self.out: Path = self.options.out or Path(__file__).parent / "results"
        self.machine = describe_machine(packages)
        #: Seconds that a repeated loop takes at least, for a script that measures loops.
        self.least_seconds = 0.01 if self.quick else 0.25
        self.settings: dict[str, object] = {"rounds": self.rounds, "warm-up rounds": 1}
        self.results: list[Result] = []
        self.targets: list[Target] = []
        self.skipped: dict[str, str] = {}
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=130)
        self._began = time.perf_counter()
        # An exit, so that a stopped benchmark removes the scratch folder, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.console.print(f"[bold]{self.title}[/bold]")

    @contextlib.contextmanager
    def scratch(self, size: int) -> Iterator[Path]:
        """A folder in memory, else on a disk, with room for ``size`` bytes; the end of the block removes it."""
        parent = SHARED_MEMORY
        room = min(shutil.disk_usage(parent).free, memory_available()) if parent.is_dir() else 0
        if room < size:
            parent = Path(tempfile.gettempdir())
            room = max(room, shutil.disk_usage(parent).free)
        if room < size:
            sys.exit(f"{self.name}: needs {size / GIB:.1f} GiB of memory, there are {room / GIB:.1f}")
        self.settings.setdefault("scratch", "tmpfs" if parent == SHARED_MEMORY else "a disk")
        with tempfile.TemporaryDirectory(prefix="gridflow-bench-", dir=parent) as folder:
            yield Path(folder)

    def measure(
        self,
        group: str,
        contenders: Mapping[str, Callable[[], Figures]],
        *,
        unit: str | Mapping[str, str],
        better: str | Mapping[str, str] = "higher",
        rounds: int | None = None,
        warm_up: bool = True,
    ) -> None:
        """Run all contenders in turn, again and again, and print the medians.

        ``unit`` and ``better`` are one for all metrics, or by metric. Turns make other work of the machine hit all
        contenders alike; each round begins with the next contender.
        """
        results: dict[tuple[str, str], Result] = {}
        names = list(contenders)
        for number in range(0 if warm_up else 1, (rounds or self.rounds) + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                with self.console.status(f"{group}: round {number}, {name}"):
                    figures = contenders[name]()
                for metric, value in figures.items():
                    metric_unit = unit if isinstance(unit, str) else unit[metric]
                    metric_better = better if isinstance(better, str) else better[metric]
                    result = results.setdefault((metric, name), Result(group, metric, name, metric_unit, metric_better))
                    if number > 0:
                        result.rounds.append(value)
        self.add([results[metric, name] for name in names for metric, contender in results if contender == name])

    def add(self, results: list[Result]) -> None:
        """Take results of one group from elsewhere, and print them."""
        self.results += results
        metrics = list(dict.fromkeys(r.metric for r in results))
        table = Table(title=results[0].group, title_justify="left", header_style="bold")
        table.add_column("median and spread", no_wrap=True)
        for metric in metrics:
            unit = next(r.unit for r in results if r.metric == metric)
            table.add_column(f"{metric}\n{unit}", justify="right")
        for name in dict.fromkeys(r.contender for r in results):
            by_metric = {r.metric: r for r in results if r.contender == name}
            cells = [cell(by_metric[metric].rounds) if metric in by_metric else "" for metric in metrics]
            table.add_row(f"[bold]{name}[/bold]" if is_ours(name) else name, *cells)
        self.console.print(table)

    def median(self, group: str, metric: str, contender: str) -> float:
        """The median of all rounds."""
        return next(r.median for r in self.results if (r.group, r.metric, r.contender) == (group, metric, contender))

    def best(self, group: str, metric: str, contenders: list[str]) -> float:
        """The highest median of several contenders."""
        return max(self.median(group, metric, name) for name in contenders)

    def target(self, name: str, figure: float, goal: float | None, unit: str, *, at_least: bool = True) -> None:
        """Add a target and the figure reached; without a ``goal`` the figure only stands beside the targets."""
        self.targets.append(Target(name, figure, goal, unit, at_least))

    def skip(self, name: str, reason: str) -> None:
        """Note and print that a contender is left out, and why."""
        if name not in self.skipped:
            self.skipped[name] = reason
            self.console.print(f"[yellow]skipped: {name}: {escape(reason)}[/yellow]")

    def finish(self, draw: Callable[[str, list[Result], Path], None] | None = None) -> None:
        """Print the targets; write the JSON file and the plot, which ``draw`` draws in place of ``_plot.draw``."""
        table = Table(title="targets", title_justify="left", header_style="bold")
        for heading in ("what", "wanted", "reached", ""):
            table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
        for t in self.targets:
            goal = "" if t.goal is None else f"{'at least' if t.at_least else 'at most'} {short(t.goal)} {t.unit}"
            verdict = {None: "", True: "[green]met[/green]", False: "[red]missed[/red]"}[t.is_met]
            table.add_row(t.name, goal, f"{short(t.figure)} {t.unit}", verdict)
        self.console.print(table)
        seconds = time.perf_counter() - self._began
        record = {
            "benchmark": self.name,
            "title": self.title,
            "quick": self.quick,
            "seconds": round(seconds, 1),
            "machine": self.machine,
            "settings": self.settings,
            "results": [{**asdict(r), "median": r.median} for r in self.results],
            "targets": [t.to_json() for t in self.targets],
            "skipped": self.skipped,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f"{self.file}.json").write_text(json.dumps(record, indent=1) + "\n")
        files = f"{self.file}.json"
        try:
            from _plot import draw as draw_bars
        except ImportError as error:
            self.console.print(f"[yellow]no plot: {escape(str(error))}[/yellow]")
        else:
            (draw or draw_bars)(self.title, self.results, self.out / f"{self.file}.png")
            files += f" and {self.file}.png"
        self.console.print(f"[dim]{files} written; {seconds:.0f} s[/dim]\n")


def seconds_of(work: Callable[[], object]) -> float:
    """The seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rate_of(work: Callable[[], object], amount: float, seconds: float) -> float:
    """``amount`` per second and call of ``work``; calls go on until ``seconds`` have passed."""
    total = 0.0
    began = time.perf_counter()
    while True:
        work()
        total += amount
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return total / elapsed


def as_rates(timers: Mapping[str, Callable[[], float]], metric: str, amount: float) -> dict[str, Callable[[], Figures]]:
    """Contenders of functions that return seconds: the figure ``metric`` is ``amount`` per second."""
    return {name: lambda timer=timer: {metric: amount / timer()} for name, timer in timers.items()}


def is_ours(contender: str) -> bool:
    """Whether a contender is Gridflow: the names of all its variants begin so."""
    return contender.startswith("gridflow")


def short(value: float) -> str:
    """A number with three digits: 2.65 M, 871 k, 12.3, 0.0042."""
    for power, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= power:
            return f"{value / power:.3g}{letter}"
    return f"{value:.3g}"


def cell(rounds: list[float]) -> str:
    """A median and the largest distance of a round from it, such as ``2.65 M ±12 %``."""
    median = statistics.median(rounds)
    spread = max(abs(value - median) for value in rounds)
    return f"{short(median)} [dim]±{spread / abs(median) * 100:.0f} %[/dim]" if median else short(median)
