"""Bytes of each device module and of each install as .mpy, for the smallest board's processor."""

from report import EST, report

from mpest import mpy, packages

ARCH = "armv6m"

sizes = {
    f"est/{path.name}": len(mpy.compile_file(path, ARCH)) for path in sorted(EST.glob("*.py"))
}
minimum = packages.parts("minimum")
rows = [
    {
        "what": path.removeprefix("est/").removesuffix(".py"),
        "part": "minimum" if path in minimum else "optional",
        "mpy": size,
    }
    for path, size in sizes.items()
]
for name in ("minimum", "package"):
    total = sum(sizes[path] for path in packages.parts(name))
    rows.append({"what": {"package": "full"}.get(name, name), "part": "install", "mpy": total})
report("size", rows)
