"""A client under whose requests a service is stopped; it runs in the service's network namespace.

    python load.py PORT PATH BODY

Each request asks with "Expect: 100-continue" whether its body is wanted (RFC 9110, 10.1.1): once
that is answered it is accepted, and must not be lost. A connection that is refused, or that the
kernel had in its queue when the socket was closed, is another server's to answer.

Prints "ready" when its requests are under way, and at the end what became of how many.
"""

import asyncio
import json
import sys
import time
from collections import Counter

# Requests whose body is held back over the stop, and clients that send one after the other.
IN_FLIGHT = 200
ARRIVING = 50
# Seconds before the stop, and from "ready" until the bodies that are held back are sent.
BEFORE = 1.0
HELD = 1.0
# Seconds after which a service that still takes connections is left alone.
PATIENCE = 30.0


async def ask(port: int, head: bytes, body: bytes, hold: asyncio.Event | None = None) -> str:
    """Send one request on a connection of its own; say what became of it."""
    accepted = False
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            if accepted := answer.startswith(b"HTTP/1.1 100 "):
                if hold:
                    await hold.wait()
                writer.write(body)
                answer = await reader.readuntil(b"\r\n\r\n")
            return answer.split(b"\r\n")[0].decode()
        finally:
            writer.close()
    except ConnectionRefusedError:
        return "refused"
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"lost: {error!r}" if accepted else "not accepted"


async def main(port: int, path: str, body: bytes) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
        "Accept: application/json, text/event-stream\r\n"
        "Expect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    hold = asyncio.Event()
    results: Counter[str] = Counter()

    async def arrive() -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            result = await ask(port, head, body)
            results[result] += 1
            if result == "refused":
                return

    held = [asyncio.create_task(ask(port, head, body, hold)) for _ in range(IN_FLIGHT)]
    arriving = [asyncio.create_task(arrive()) for _ in range(ARRIVING)]
    await asyncio.sleep(BEFORE)
    print("ready", flush=True)
    await asyncio.sleep(HELD)
    hold.set()
    results.update("held, " + result for result in await asyncio.gather(*held))
    await asyncio.gather(*arriving)
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()))
