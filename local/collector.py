"""Replaces the X-Ray daemon: writes every segment document that the functions send, one a line.

collector.py PORT FILE
"""

import json
import socket
import sys

LONGEST = 65_535


def document(datagram):
    """The document in a datagram: a line that says its format, and then the document itself."""
    head, _, body = datagram.partition(b"\n")
    try:
        return json.loads(body) if json.loads(head).get("format") == "json" else None
    except (ValueError, AttributeError):
        return None


def collect(server, file):
    while True:
        found = document(server.recv(LONGEST))
        if found is not None:
            file.write(json.dumps(found) + "\n")
            file.flush()


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, open(sys.argv[2], "a") as file:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        server.bind(("127.0.0.1", int(sys.argv[1])))
        collect(server, file)
