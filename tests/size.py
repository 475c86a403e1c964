"""Bytes of each device module and of each install as .mpy, for the smallest board's processor."""

from report import EST, budgets, hold, over_budget, report

from mpest import mpy, packages

ARCH = "armv6m"

modules = {path.stem: len(mpy.compile_file(path, ARCH)) for path in sorted(EST.glob("*.py"))}
parts = {"minimum": packages.parts("est-minimum"), "full": packages.parts()}
installs = {
    name: sum(modules[path.removeprefix("est/").removesuffix(".py")] for path in paths)
    for name, paths in parts.items()
}
rows = [
    {
        "what": name,
        "part": "minimum" if f"est/{name}.py" in parts["minimum"] else "optional",
        "mpy": size,
    }
    for name, size in modules.items()
]
rows += [{"what": name, "part": "install", "mpy": size} for name, size in installs.items()]
report("size", rows)
hold([*over_budget({"mpy": modules, "install": installs}, budgets())])
