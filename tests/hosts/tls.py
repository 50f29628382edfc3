"""The API's encrypted door on the hub: what comes in at `HOST:443` goes on to the zone's `HOST:80`,
as it is.

    python3 -m tests.hosts.tls HOST CERTIFICATE-AND-KEY

With it the hosts' configuration is what a user writes: the API's endpoint follows from the zone,
and its certificate is checked.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

CHUNK = 1 << 16


async def serve(host: str, certificate: str) -> None:
    """Serve until killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, 80)
        # When one side ends, or is cut off, so does the other.
        ways = [asyncio.create_task(pump(reader, far_writer)), asyncio.create_task(pump(far_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for one in (writer, far_writer):
            one.transport.abort()

    server = await asyncio.start_server(join, host, 443, ssl=context)
    async with server:
        await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, until nothing does."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
