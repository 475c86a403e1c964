"""Freezes the est package into a firmware: `include("mpest/firmware/manifest.py")`.

`include(..., minimum=True)` takes the parts of minimum.json only. The modules named *_viper hold
machine code: where the port names no -march to mpy-cross, as unix, `native=False` leaves them out.
`thumb=True` adds machine code for Cortex-M, as RP2040 and RP2350 have, `rv32=True` for RV32IMC,
where the firmware has an inline assembler for it, as RP2350's.
"""

import json

options.defaults(minimum=False, native=True, thumb=False, rv32=False)
metadata(description="EST (RFC 7030) certificates", version="0.2.0")

with open("minimum.json" if options.minimum else "package.json") as parts:
    names = [path[len("est/") :] for path, _ in json.load(parts)["urls"]]
for code in ("thumb", "rv32"):
    if getattr(options, code):
        names += ["p256_machine.py", "p256_%s.py" % code]
package("est", tuple(name for name in names if options.native or not name.endswith("_viper.py")))
