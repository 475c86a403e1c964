"""Runs test files on MicroPython: `micropython run.py FILE...`; exit code 1 if a test fails."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] if "/" in __file__ else ".")

import check  # noqa: E402


def main(files):
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for file in files:
        module = __import__(file.rsplit("/", 1)[-1][:-3])
        for name in sorted(dir(module)):
            if not name.startswith("test_"):
                continue
            note = ""
            try:
                getattr(module, name)()
                word = "ok"
            except check.Skip as skip:
                word = "skip"
                note = ": %s" % skip
            except Exception as error:
                word = "FAIL"
                sys.print_exception(error)
            counts[word] += 1
            print(word, name + note)
    print("%d passed, %d failed, %d skipped" % (counts["ok"], counts["FAIL"], counts["skip"]))
    sys.exit(1 if counts["FAIL"] else 0)


main(sys.argv[1:])
