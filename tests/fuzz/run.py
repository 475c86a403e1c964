"""Fuzzes every target, or those named, for some seconds each, with coverage to guide it.

Inputs that reached something new stay in build/fuzz/NAME for the next run; one that fails is kept
beside it and named with the command that repeats it.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.console import Console

from mpest.sim import cpython

cpython.install()
from targets import BER, TARGETS, indefinite  # noqa: E402

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VECTORS = (
    ROOT / "tests/vectors",
    Path(os.environ.get("MPEST_VECTORS") or ROOT.parent / "shared/vectors"),
)
# Seconds for one input, and MiB for the process; in each of them a real message takes 1 %.
_SECONDS = 10
_MIB = 1024
_LONGEST = 8192  # octets of an input


def seeds(name: str, folder: Path) -> None:
    """Write what the target begins with."""
    _, patterns, more = TARGETS[name]
    found = [path for pattern in patterns for at in VECTORS for path in sorted(at.glob(pattern))]
    if patterns and not found and os.environ.get("CI") == "true":
        raise click.ClickException(f"there are no vectors {patterns} in {VECTORS[1]}")
    folder.mkdir(parents=True, exist_ok=True)
    messages = [*(path.read_bytes() for path in found), *more]
    if name in BER:
        messages += map(indefinite, list(messages))
    for number, data in enumerate(messages):
        (folder / f"seed-{number}").write_bytes(data)


def fuzz(name: str, seconds: int) -> tuple[str, str, Path | None]:
    """(target, libFuzzer's last words, input that failed if one did)."""
    folder = ROOT / "build/fuzz" / name
    seeds(name, folder)
    failed = folder.with_name(f"{name}-failed")
    failed.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "one.py"), name, str(folder)),
            *(f"-max_total_time={seconds}", f"-timeout={_SECONDS}", f"-rss_limit_mb={_MIB}"),
            *(f"-max_len={_LONGEST}", f"-exact_artifact_path={failed}", "-print_final_stats=1"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        return name, done.stdout, failed
    stats = dict(
        line.removeprefix("stat::").split(":", 1)
        for line in done.stdout.splitlines()
        if line.startswith("stat::")
    )
    return name, stats["number_of_executed_units"].strip(), None


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(TARGETS)))
@click.option("--seconds", default=60, show_default=True, help="For each target.")
def main(names: tuple[str, ...], seconds: int) -> None:
    """Fuzz the targets NAMES, or all."""
    console = Console()
    wrong = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = pool.map(lambda name: fuzz(name, seconds), names or sorted(TARGETS))
        for name, words, failed in jobs:
            if failed:
                wrong += 1
                console.print(words[words.rfind("INFO: ") :][:3000], markup=False, highlight=False)
                console.print(
                    f"{name}: failed; `{sys.executable} {HERE / 'one.py'} {name} {failed}` "
                    "repeats it",
                    highlight=False,
                )
            else:
                console.print(f"{name}: {int(words):,} inputs, only typed errors")
    console.print(f"{len(names or TARGETS) - wrong} passed, {wrong} failed", highlight=False)
    sys.exit(1 if wrong else 0)


main()
