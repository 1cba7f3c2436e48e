"""Lets containers reach servers on 127.0.0.1 of this machine: forwarder.py ADDRESS PORT…

ADDRESS is the address of this machine in the containers' network. The forwarder listens on these
ports of this address, and nowhere else.
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
        # If one side closes the connection, the other side is closed too.
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
