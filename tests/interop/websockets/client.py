"""A client of `websockets`. Usage: client.py URL PLACE TOKEN. Prints `ready` after its messages have come back, then the
code and the reason of the close."""
import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main():
    url, place, token = (sys.argv[1:] + [""])[:3]
    headers = {
        "header": {"Authorization": f"Bearer {token}"},
        "cookie": {"Cookie": f"a=1; token={token}"},
    }.get(place)
    protocols = ["Bearer", token] if place == "subprotocol" else None
    options = {"additional_headers": headers, "subprotocols": protocols, "max_size": None, "proxy": None}
    async with connect(url, **options) as socket:
        assert socket.subprotocol == (protocols[0] if protocols else None), socket.subprotocol
        for message in ["hello", "", bytes([7]) * (1 << 20)]:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping("are you there"))
        print("ready", flush=True)
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            print(closed.rcvd.code, closed.rcvd.reason, flush=True)


asyncio.run(main())
