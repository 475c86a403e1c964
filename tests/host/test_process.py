"""A program whose lines are read as they come."""

import os
import sys
import time

import pytest

from mpest.process import Process


def python(code: str, **options) -> Process:
    return Process([sys.executable, "-c", code], **options)


def test_lines_come_while_it_runs():
    code = "import sys; print('one', flush=True); print(input(), file=sys.stderr); sys.exit(3)"
    with python(code, given="two\n") as process:
        assert list(process) == ["one\n", "two\n"]
    assert process.code == 3


def test_errors_are_apart_where_a_file_takes_them(tmp_path):
    with (tmp_path / "errors").open("w+") as errors:
        with python("import sys; print('bad', file=sys.stderr)", errors=errors) as process:
            assert list(process) == []
        errors.seek(0)
        assert errors.read() == "bad\n"


def test_it_is_killed_after_so_many_seconds():
    with python("import time; time.sleep(60)", seconds=0.2) as process:
        assert list(process) == []
    assert process.code < 0


def test_it_is_killed_where_its_block_is_left():
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), python("import time; time.sleep(60)") as process:
        raise ZeroDivisionError
    with python("print('ready', flush=True); import time; time.sleep(60)") as other:
        for _ in other:
            break
    assert process.code < 0 and other.code < 0
    assert time.monotonic() - started < 30


def test_reading_goes_on_after_a_break():
    with python("print('one'); print('two')") as process:
        for line in process:
            assert line == "one\n"
            break
        assert list(process) == ["two\n"]


def test_a_program_that_reads_nothing():
    with python("raise SystemExit(5)", given="x" * (1 << 20)) as process:
        assert list(process) == []
    assert process.code == 5


def test_the_environment_is_the_one_given(tmp_path):
    with python(
        "import os; print(os.environ['A'], os.getcwd()); open('made', 'w').close()",
        env={**os.environ, "A": "b"},
        cwd=tmp_path,
        umask=0o077,
    ) as process:
        assert list(process) == [f"b {tmp_path}\n"]
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
