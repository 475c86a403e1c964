"""What the page shows: made of the line's events, sent whole, so no client can miss a part."""

import json
import re
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from mpest.station.terminal import revocation

_MAX_NOTES = 20  # an operator reads the newest
_MAX_MESSAGE = 2000  # characters; a board may print anything
_RESULTS = ("done", "failed")


@dataclass
class _Tile:
    """One port. number: grows with each result, so that the same words are told again."""

    port: str
    state: str = "free"
    """free, working, scan (its label is to be scanned), turn (another board's first), or a kind of
    outcome.Outcome."""
    here: bool = False
    serial: str = ""
    step: str = ""
    passed: list[str] = field(default_factory=list)
    """Steps that are over."""
    fraction: float | None = None
    message: str = ""
    seconds: float | None = None
    label: str = ""
    history: tuple[dict[str, Any], ...] = ()
    """Of a board that is left alone."""
    number: int = 0


class State:
    """Heeds events in any thread; `version` is another one after each change. label: what becomes
    of one that is made."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._lock = threading.Lock()
        self._tiles: dict[str, _Tile] = {}
        self._line: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}
        self._notes: deque[dict[str, Any]] = deque(maxlen=_MAX_NOTES)
        self._results: dict[str, tuple[bool, bool]] = {}
        self._stop = self._end = ""
        self._began = time.time()
        self._text: str | None = None
        self.version = 0
        self.moved = time.monotonic()
        """When a board was last put in or taken out."""

    def heed(self, event: str, fields: dict[str, Any]) -> None:
        with self._lock:
            self._heed(event, fields)
            self._text = None
            self.version += 1

    def text(self) -> str:
        """All of it, as JSON."""
        with self._lock:
            if self._text is None:
                self._text = json.dumps(self._shown())
            return self._text

    @property
    def operator(self) -> str:
        return str(self._line.get("operator", ""))

    def _heed(self, event: str, fields: dict[str, Any]) -> None:
        match event:
            case "line":
                self._line = dict(fields)
            case "operator":
                self._line["operator"] = fields["operator"]
            case "counts":
                self._counts = dict(fields)
            case "note":
                self._notes.append({"at": time.time(), "port": "", **_bounded(fields)})
            case "revoke":
                note = {"port": fields["port"], "message": revocation(fields)}
                self._notes.append({"at": time.time(), **_bounded(note)})
            case "stop":
                self._stop = _bounded(fields)["message"]
            case "end":
                self._end = _bounded(fields)["message"]
            case "decision":
                self._decided(fields)
            case "port":
                self._port(fields)
            case "scan":
                states = {"wanted": "scan", "turn": "turn", "over": "working"}
                self._tile(fields["port"]).state = states[fields["state"]]
            case "step" | "progress" | "board":
                tile = self._tile(fields["port"])
                tile.serial = fields.get("serial") or tile.serial
                getattr(self, f"_{event}")(tile, fields)

    def _tile(self, port: str) -> _Tile:
        return self._tiles.setdefault(port, _Tile(port))

    def _port(self, fields: dict[str, Any]) -> None:
        port = fields["port"]
        before = self._tile(port)
        number = before.number
        if before.here != (fields["state"] == "here"):
            self.moved = time.monotonic()
        if fields["state"] == "here":
            self._tiles[port] = _Tile(port, "working", here=True, number=number)
        elif before.state in ("working", "scan", "turn"):
            self._tiles[port] = _Tile(port, number=number)
        else:
            before.here = False  # the result stays until the next board is in

    def _step(self, tile: _Tile, fields: dict[str, Any]) -> None:
        step, outcome = fields["step"], fields["outcome"]
        if not (step == "wait" and tile.state in ("scan", "turn")):
            tile.state = "working"
        tile.step, tile.fraction = step, None
        if outcome in ("done", "skipped") and step not in tile.passed:
            tile.passed.append(step)
        elif outcome == "again":
            note = {"port": tile.port, "message": fields.get("message", "")}
            self._notes.append({"at": time.time(), **_bounded(note)})

    def _progress(self, tile: _Tile, fields: dict[str, Any]) -> None:
        tile.step, tile.fraction = fields["step"], fields["fraction"]

    def _board(self, tile: _Tile, fields: dict[str, Any]) -> None:
        kind = fields["outcome"]
        tile.state, tile.step, tile.fraction = kind, fields["step"], None
        tile.message = _bounded({"message": "", **fields})["message"]
        tile.seconds = fields["seconds"]
        tile.history = fields.get("history", ())
        tile.label = self._label if kind == "done" and "label" in tile.passed else ""
        tile.number += 1
        if kind in _RESULTS and tile.serial:
            well = kind == "done"
            first, _ = self._results.get(tile.serial, (well, well))
            self._results[tile.serial] = (first, well)

    def _decided(self, fields: dict[str, Any]) -> None:
        if fields["what"] == "label":
            for tile in self._tiles.values():
                if tile.serial == fields["serial"]:
                    tile.label = fields["label"]
        if fields["what"] == "scrap":
            self._results.pop(fields["serial"], None)

    def _shown(self) -> dict[str, Any]:
        results = self._results.values()
        return {
            "line": self._line,
            "tiles": [asdict(self._tiles[port]) for port in sorted(self._tiles, key=_by_number)],
            "counts": self._counts,
            "shift": {
                "since": self._began,
                "ended": len(results),
                "first": sum(first for first, _ in results),
                "final": sum(last for _, last in results),
            },
            "notes": list(self._notes),
            "stop": self._stop,
            "end": self._end,
        }


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "message": str(fields["message"])[:_MAX_MESSAGE]}


def _by_number(port: str) -> list[tuple[int, str]]:
    """So that port 10 comes behind port 9."""
    parts = re.split("([0-9]+)", port)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
