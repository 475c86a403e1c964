"""Freezes the est package into a firmware: `include("mpest/firmware/manifest.py")`.

`include(..., minimum=True)` takes the parts of minimum.json only.
"""

import json

options.defaults(minimum=False)
metadata(description="EST (RFC 7030) certificates", version="0.1.0")

with open("minimum.json" if options.minimum else "package.json") as parts:
    package("est", tuple(path[len("est/") :] for path, _ in json.load(parts)["urls"]))
