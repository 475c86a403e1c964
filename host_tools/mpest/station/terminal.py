"""What the line tells people: a table of the ports on a terminal, lines elsewhere."""

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

_SIGNS = {
    "done": ("✓", "green"),
    "known": ("=", "green"),
    "failed": ("✗", "red"),
    "refused": ("✗", "red"),
    "unplugged": ("?", "yellow"),
    "waiting": ("…", "yellow"),
    "stopped": ("‖", "yellow"),
    "stop": ("✗", "red"),
}
_WORDS = {
    "done": "{serial} is made",
    "known": "{serial}: {message}",
    "failed": "{serial} failed at {step}: {message}",
    "refused": "{message}",
    "unplugged": "{serial} was unplugged at {step}: {message}",
    "waiting": "waits, safe to unplug: {message}",
    "stopped": "{serial}: {message}",
    "stop": "{message}",
}


class Terminal:
    """An `Emit` for people, on standard error. Use it as a context."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._rows: dict[str, tuple[str, str, str, str]] = {}
        self._last: dict[str, str] = {}
        self._footer = ""
        self._live: Live | None = None

    def __enter__(self) -> "Terminal":
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live:
            self._live.__exit__(*error)

    def __call__(self, event: str, /, **fields: Any) -> None:
        port = str(fields.get("port", ""))
        line = self._line(event, port, fields)
        if self._live:
            if line and (event not in ("step", "board") or fields.get("history")):
                self._live.console.print(line, markup=False)
            self._live.refresh()
        elif line:
            self._console.print(line, markup=False)

    def _line(self, event: str, port: str, fields: dict[str, Any]) -> str:
        """What to say, "" for nothing; a port's row is set."""
        place = f"{port}: " if port else ""
        match event:
            case "line":
                return "Batch {batch} at station {station}, operator {operator}.".format(**fields)
            case "step":
                serial = fields.get("serial", "")
                self._rows[port] = ("", serial, fields["step"], "")
                if fields["outcome"] == "again":
                    return f"{place}{serial}: {fields['step']} again: {fields['message']}"
                return ""
            case "board":
                kind = fields["outcome"]
                text = _WORDS[kind].format(**{"message": "", **fields})
                self._rows[port] = (kind, fields["serial"], fields["step"], text)
                if kind == "waiting" and self._last.get(port) == text:
                    return ""
                self._last[port] = text
                told = f"{_SIGNS[kind][0]} {place}{text} ({fields['seconds']:.1f} s)"
                return "\n".join([told, *map(_life, fields.get("history", ()))])
            case "counts":
                made, wanted = fields["done"], fields["quantity"]
                self._footer = f"{made} made" + (f" of {wanted}" if wanted else "")
                self._footer += f", {fields['first_pass']} of them at the first try"
                self._footer += f"; {fields['failed']} failed, {fields['aside']} set aside"
                if fields["labels"]:
                    self._footer += f"; {fields['labels']} labels not scanned"
                return ""
            case "page":
                return f"The operator's page is at {fields['url']}"
            case "operator":
                if fields["operator"]:
                    return f"Operator {fields['operator']}."
                return "Who works here? Type the name, or scan the badge."
            case "scan":
                wanted = fields["state"] == "wanted"
                return f"{place}scan the label of this board" if wanted else ""
            case "decision":
                return "{serial}: {what} {label}, by {operator}".format(**{"label": "", **fields})
            case "revoke":
                return place + revocation(fields)
            case "note" | "stop":
                return f"{place}{fields['message']}"
            case "end":
                return f"{self._footer}. Ended: {fields['message']}."
        return ""

    def _table(self) -> Table:
        table = Table("", "Port", "Board", "Step", "", title=self._footer, expand=True)
        for port, (kind, serial, step, text) in sorted(self._rows.items()):
            sign, colour = _SIGNS.get(kind, ("▶", "blue"))
            table.add_row(sign, port, serial, step, text, style=colour)
        return table


def _life(line: dict[str, Any]) -> str:
    """A line of a board's history."""
    words = ("at", "event", "step", "outcome", "reason", "station", "port", "operator")
    return "    " + "  ".join(str(line[word]) for word in words if line[word])


def revocation(fields: dict[str, Any]) -> str:
    """Of an event `revoke`, in words."""
    what = "{serial}: the old certificate {number}".format(**fields)
    if fields["outcome"] == "done":
        return f"{what} is revoked"
    how = "mpest ledger revoke --serial {serial}".format(**fields)
    return (
        f"{what} is to be revoked, and the line cannot: {fields['message']}. It tries again when "
        f"the board is put in before the batch is made. Or, where the folder of its mpest serve "
        f"is: {how} --ca-dir FOLDER. Or revoke {fields['number']} at the CA, then: {how} --done"
    )
