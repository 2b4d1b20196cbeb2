"""A bot that polls through a SOCKS5 proxy, and goes on when the line breaks."""
import asyncio
import sys

import wherry


async def main(base: str, proxy: str) -> None:
    limits, offset = wherry.ClientTimeout(sock_connect=10, sock_read=40), 0
    async with wherry.ClientSession(base, proxy=proxy, timeout=limits, raise_for_status=True) as session:
        while True:
            try:
                async with session.get("getUpdates", params={"offset": offset, "timeout": 30}) as response:
                    updates = (await response.json())["result"]
            except (wherry.ClientError, TimeoutError) as error:
                print("again, after", type(error).__name__)
                await asyncio.sleep(0.1)
                continue
            for update in updates:
                offset = update["update_id"] + 1
                print("got", update["message"]["text"])
                if update["message"]["text"] == "/stop":
                    return


asyncio.run(main(*sys.argv[1:]))
