"""Runs the proofs of what boards and server live through, whole or a sample, and prints counts.

`python tests/faults/soak.py` runs all, each whole; `soak.py NAME --sample N --seed S` one of them,
a part. Figures go to build/soak.json, by the name of the proof. The exit code is 1 if any fails.
"""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

import ca_cuts
import crowd
import cut_runs
import deployments
import enrolments
import ext4
import fleet
import fresh_debian
import kills
import line_cuts
import line_page
import linux_day
import model
import network
import station_kills
import station_scale
import ten_years
import use
from report import ROOT, save, show

from mpest.exits import CliError

# Where littlefs erases next depends on what was written before: a cut there is another cut.
_AGES = range(8)
# On FAT most writes make room, and all pairs of them would take days.
_SECOND_CUTS = {"littlefs": 500, "fat": 5000}
# So would they where each recovery takes a week of the board's time: (scenario, age).
_OF_A_WEEK = {("no verdict", 0): 5000}

# Of a hundred thousand boards each.
_FLEETS = 3

PROOFS = {}


def proof(function):
    """Makes a subcommand of function(sample or None, seed), which returns (rows, [failure])."""
    name = function.__name__.strip("_").replace("_", "-")

    @click.option("--sample", type=click.IntRange(1), help="How many of each kind; all if absent.")
    @click.option("--seed", default=1, show_default=True, help="Draws the sample.")
    def command(sample, seed):
        sys.exit(_run(name, sample, seed))

    command.__doc__ = function.__doc__
    PROOFS[name] = function
    main.command(name)(command)
    return function


def _run(name, sample, seed):
    begun = time.monotonic()
    rows, failures = PROOFS[name](sample, seed)
    show(rows, name)
    path = ROOT / "build/soak.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = {
        "sample": sample,
        "seed": seed,
        "seconds": round(time.monotonic() - begun),
        "rows": rows,
        "failures": failures,
    }
    save("soak", known)
    for line in failures:
        print(f"{name}: {line}", file=sys.stderr)
    return bool(failures)


@click.group(invoke_without_command=True)
@click.pass_context
def main(context):
    """What a board lives through, whole; or one proof."""
    if context.invoked_subcommand is None:
        failed = [name for name in PROOFS if _run(name, None, 1)]
        sys.exit(bool(failed))


@proof
def cuts(sample, seed):
    """Power cuts before every write, and a second one in each recovery."""

    def one(case):
        scenario, disk, age = case
        usual = "all" if disk == "littlefs" and not age else _SECOND_CUTS[disk]
        pairs = sample or _OF_A_WEEK.get((scenario, age), usual)
        amount = sample or "all"
        begun = time.monotonic()
        try:
            result = cut_runs.run(scenario, disk, sample=amount, pairs=pairs, seed=seed, age=age)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failures.append(str(error))
            return None
        if not sample:
            seconds = round(time.monotonic() - begun)
            print(*case, seconds, "s", cut_runs.total([result]), file=sys.stderr, flush=True)
        return result

    cases = [(name, disk, 0) for disk in cut_runs.DISKS for name in cut_runs.SCENARIOS]
    if not sample:
        cases += [(name, "littlefs", age) for name in cut_runs.SCENARIOS for age in _AGES[1:]]
    failures = []
    with ThreadPoolExecutor(1 if sample else 2) as pool:
        results = [result for result in pool.map(one, cases) if result]
    failures += [line for result in results for line in cut_runs.told(result)]
    rows = []
    for scenario, disk in dict.fromkeys((one["scenario"], one["disk"]) for one in results):
        same = [one for one in results if (one["scenario"], one["disk"]) == (scenario, disk)]
        rows.append({"scenario": scenario, "disk": disk, **cut_runs.total(same)})
    for mutant, (scenario, disk) in cut_runs.MUTANTS.items():
        result = cut_runs.run(scenario, disk, mutant=mutant)
        rows.append(
            {"scenario": f"{scenario}, {mutant}", "disk": disk, **cut_runs.total([result])}
        )
        if not cut_runs.noticed(result):
            failures.append(f"the mutant with {mutant} is not noticed")
    return rows, failures


def _counted(found):
    # What the others return, as a proof does.
    failures = found.pop("problems")
    return [{"count": name, "number": number} for name, number in found.items()], failures


@proof
def network_faults(sample, seed):
    """A network that fails at each octet of an enrolment and of a renewal: in another way with
    each of six seeds."""
    if sample:
        octets = 15000  # of both
        return _counted(network.run(max(octets // sample, 1), seed, versions=["1.2"]))
    return _counted(network.soak(seed))


@proof
def heap(sample, seed):
    """A thousand failures, each of which leaves nothing in the heap."""
    rows, failures = [], []
    for runtime in ("micropython", "micropython-picow-like"):
        found = network.leak(sample or 1000, seed, runtime=runtime)
        failures += found.pop("problems")
        if found["heap"] > network.LEAK:
            failures.append(f"{runtime}: the heap grew by {found['heap']} octets")
        rows.append({"runtime": runtime, **found})
    return rows, failures


@proof
def kill_9(sample, seed):
    """Two thousand kills amid enrolments and renewals."""
    return _counted(kills.run(sample or 2000, seed))


@proof
def killed_server(sample, seed):
    """Three hundred clients that enrol at once, while the server is killed each second, its
    database is locked for ten seconds and its disk full in each third life."""
    return _counted(enrolments.run(sample or 300, seed))


@proof
def identity_in_use(sample, seed):
    """A thousand renewals while messages are published over MQTT, through mosquitto."""
    rows, failures = [], []
    for runtime in ("cpython", "micropython", "micropython-armhf", "micropython-picow-like"):
        found = use.run(sample or use.MANY, runtime)
        failures += [f"{runtime}: {problem}" for problem in found.pop("problems")]
        rows.append({"runtime": runtime, **found})
        for name, proof in (("faults", use.faults), ("revoked", use.revoked)):
            failures += [f"{runtime}, {name}: {one}" for one in proof(runtime)["problems"]]
    return rows, failures


@proof
def power_cuts_on_ext4(sample, seed):
    """Power cuts on ext4, until 15 s after success; where there is none, recorded ones."""
    seconds = None if ext4.missing() else ext4.SECONDS
    return _counted(ext4.run(seconds, sample or ext4.MANY, seed))


@proof
def ten_years_(sample, seed):
    """Ten years of boards in each world."""
    rows, failures = [], []
    for name in ten_years.WORLDS:
        begun = time.monotonic()
        found = ten_years.run(sample, seed, [name])
        failures += found["failures"]
        counts = found["counts"][name]
        rows.append({"world": name, **ten_years.table(counts)})
        print(name, round(time.monotonic() - begun), "s", counts, file=sys.stderr, flush=True)
    return rows, failures


@proof
def fleet_(sample, seed):
    """A hundred thousand boards for five years, with an outage of five days and without."""
    rows, failures = [], []
    for number in range(seed, seed + (1 if sample else _FLEETS)):
        for outage_after in (fleet.OUTAGE_AFTER, 0):
            found = fleet.run(sample or fleet.BOARDS, outage_after=outage_after, seed=number)
            failures += fleet.over(found)
            rows.append(fleet.table(found))
    return rows, failures


@proof
def ca_cuts_(sample, seed):
    """A server that is cut off at each file operation of its first start and of a rollover."""
    return _counted(ca_cuts.run(ca_cuts.CHAINS[:sample]))


@proof
def deployments_(sample, seed):
    """The files of other programs and their hooks, killed and cut at every moment."""
    return _counted(deployments.run(sample, seed))


@proof
def linux_days(sample, seed):
    """A hundred days of the agent on Linux, with certificates of an hour."""
    return _counted(linux_day.run(sample, seed))


@proof
def linux_page(sample, seed):
    """docs/linux.md on a fresh Debian 13."""
    try:
        return [fresh_debian.run()], []
    except (AssertionError, CliError, subprocess.SubprocessError) as error:
        return [{"system": "-"}], [str(error)]


@proof
def line_cuts_(sample, seed):
    """A factory's station that is killed, or a board that is unplugged, in each of its steps."""
    cases = random.Random(seed).sample(line_cuts.CASES, sample) if sample else line_cuts.CASES
    return _counted(line_cuts.run(cases))


@proof
def station_kills_(sample, seed):
    """Two hundred boards on stations, cut in the middle of whatever they do."""
    return _counted(station_kills.run(sample or 200, seed))


@proof
def line_at_scale(sample, seed):
    """Ten thousand boards over eight workers of two stations on PostgreSQL, of which one is killed
    ten times; a thousand on SQLite; and what a board costs the station."""
    rows, failures = [], []
    for ledger, boards, stations, kill in (
        ("postgresql", 10_000, 2, 10),
        ("sqlite", 1000, 2, 10),
        ("postgresql", 200, 1, 0),
    ):
        found = station_scale.run(sample or boards, kill, seed, ledger, stations)
        failures += [f"{ledger}: {problem}" for problem in found.pop("problems")]
        rows.append({"ledger": ledger, "stations": stations, **found})
    return rows, failures


@proof
def line_page_(sample, seed):
    """Twenty boards that an operator makes in Chromium, by the page of the line alone."""
    return _counted(line_page.run(sample or line_page.BOARDS))


@proof
def crowd_(sample, seed):
    """Fifty boards that enrol beside 5,000 clients that are idle or slow, at 1,024 descriptors."""
    found = crowd.run(seconds=sample) if sample else crowd.run()
    return _counted(found)


@proof
def hostile(sample, seed):
    """Thousands of malformed requests and handshakes."""
    return _counted(crowd.hostile(sample or 5000, seed))


@proof
def model_(sample, seed):
    """What happens in the model: each series of events, from each state, and long walks."""
    rows, failures = [], []
    searches = {
        f"series of {depth} of {len(events)} events": (model.search, depth, sample, seed)
        for depth, events in model.DEPTHS.items()
    }
    searches["walks"] = (model.walks, sample, seed)
    for name, (function, *arguments) in searches.items():
        counts, broken = function(*arguments)
        failures += broken
        rows.append({"search": name, **model.table(counts), "broken": len(broken)})
    return rows, failures


@main.command()
@click.argument("arguments", nargs=-1, required=True)
def one_cut(arguments):
    """One power cut, named as a failure of `cuts` is, with all that happens."""
    sys.exit(cut_runs.start(*arguments).returncode)


if __name__ == "__main__":
    main()
