"""Lets containers reach servers that listen on 127.0.0.1 of this machine: forwarder.py ADDRESS PORT…

It listens at the address, that of this machine in the containers' network, on each of the ports, and nowhere else.
"""

import asyncio
import contextlib
import sys


async def main(address, *ports):
    servers = [
        await asyncio.start_server(forward_to(int(port)), address, int(port)) for port in ports
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def forward_to(port):
    async def forward(reader, writer):
        # What breaks off on one side ends on the other.
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(there_writer):
                await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    return forward


async def pump(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
