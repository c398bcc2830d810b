"""An echo server of `websockets`. Usage: server.py PORT"""
import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


def select(connection, offered):
    return "Bearer" if "Bearer" in offered else None


async def main():
    port = int(sys.argv[1])
    async with serve(echo, "127.0.0.1", port, select_subprotocol=select, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
