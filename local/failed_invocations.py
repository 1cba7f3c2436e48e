"""Invocations that failed outside of the function's code.

The function could not start, exited, or ran out of time. On AWS, the reason is in the function's
log group. The local AWS writes it to its own log, with the function's last lines.
"""

import json
import re
from datetime import datetime, timezone

# The beginning of a record in the local AWS's log. A record may have several lines.
RECORD = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ([A-Z]+ \[[^\]]*\] )", re.M)
FAILURE = re.compile(
    r"(?:ERROR|WARNING) \[\w+\] (?:Warm provided-runtime execution error for|Lambda) "
    r"\S+-(Api|Executor|Cleanup)Function-\w+: (.+?)(?:: (\{.*))?\s*",
    re.S,
)


class FailedInvocations:
    def __init__(self, log):
        """`log` is the file with the local AWS's log."""
        self.log, self.offset = log, 0

    def read(self):
        """The new lines, each with its time in seconds, the function, and the message."""
        with open(self.log, "rb") as file:
            file.seek(self.offset)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self.offset += len(text)
        _, *records = RECORD.split(text.decode(errors="replace"))
        for written, source, record in zip(records[::3], records[1::3], records[2::3], strict=True):
            if failure := FAILURE.fullmatch(source + record):
                function, error, said = failure.groups()
                at = datetime.fromisoformat(written).astimezone(timezone.utc)
                line = {
                    "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}",
                    "level": "ERROR",
                    "message": "invocation failed",
                    "error": error,
                }
                # The record has whole seconds. The lines before it are its cause.
                end = at.timestamp() + 0.999
                for message in (*(said or "").splitlines(), json.dumps(line)):
                    yield end, function.lower(), message
