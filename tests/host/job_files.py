"""Job files for tests: one that is whole, with all that it names, to be spoiled."""

from pathlib import Path

JOB = """\
name = "batch-1"
board = "UNIX"
quantity = 2
subject = "CN={serial},O={customer}"
san = ["DNS:{serial}.example.com"]

[server]
url = "https://127.0.0.1:8443"
trust = "sha256:%s"
user = "station"
password = {file = "password"}

[devices]
csv = "boards.csv"
""" % ("0f" * 32)
BOARDS = "serial,customer,mac\nA1,Acme,28:cd:c1:00:00:01\nA2,Müller,\n"


def make(folder: Path, job: str = JOB, boards: str = BOARDS) -> Path:
    """The job file, in a folder with what it names."""
    (folder / "boards.csv").write_text(boards)
    (folder / "password").write_text("correct horse\n")
    (folder / "password").chmod(0o600)
    file = folder / "job.toml"
    file.write_text(job)
    return file


def with_line(line: str, table: str = "", job: str = JOB) -> str:
    """The job with `line` in [table], in place of the line of the same key."""
    key = line.partition(" = ")[0]
    head, _, rest = job.partition(f"[{table}]\n") if table else ("", "", job)
    body, bracket, others = rest.partition("\n[")
    lines = [old for old in body.splitlines() if old.partition(" = ")[0] != key]
    start = f"{head}[{table}]\n" if table else ""
    if table and f"[{table}]" not in job:
        return f"{job}\n[{table}]\n{line}\n"
    return start + "\n".join([line, *lines]) + "\n" + bracket + others


def without(key: str, job: str = JOB) -> str:
    return "".join(line for line in job.splitlines(True) if line.partition(" = ")[0] != key)
