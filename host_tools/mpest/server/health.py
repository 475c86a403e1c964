"""Whether the server can do its work, as /health says."""

import json
from time import monotonic

from mpest.server.authority import Authority
from mpest.server.ca import now
from mpest.server.database import Database, StoreError, trouble
from mpest.server.wire import Reply

_AGAIN_SECONDS = 5.0  # what was tried counts for so long: each time the disk is waited for


class Health:
    """The state of one server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trouble: str | None = None
        self._tried = -_AGAIN_SECONDS

    def reply(self, authority: Authority) -> Reply:
        """200 while certificates can be issued and recorded, else 503 and why."""
        if monotonic() >= self._tried + _AGAIN_SECONDS:
            self._trouble = self._try()
            self._tried = monotonic()
        reason = self._trouble
        if authority.issuer.certificate.not_valid_after_utc <= now():
            reason = "the CA has expired"
        text = json.dumps({"status": "failing" if reason else "ok", "reason": reason})
        return Reply(503 if reason else 200, text.encode(), "application/json")

    def _try(self) -> str | None:
        try:
            self._database.try_to_record()
        except StoreError as error:
            return f"the database fails: {trouble(error)}"
        return None
