"""Lets pytest run on CPython the tests that run.py runs on MicroPython."""

import pytest

from mpest.sim import cpython

cpython.install()

import check  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call():
    try:
        return (yield)
    except check.Skip as skip:
        pytest.skip(str(skip))
