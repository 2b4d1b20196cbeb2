"""What a language model streams, word by word, and given up after some seconds."""
import asyncio
import json
import sys

import wherry


async def main(url: str, question: str, seconds: str) -> None:
    body = {"model": "any", "stream": True, "messages": [{"role": "user", "content": question}]}
    async with wherry.ClientSession() as session:
        try:
            async with asyncio.timeout(float(seconds)), session.events(url, method="POST", json=body) as events:
                async for event in events:
                    if event.data == "[DONE]":
                        return
                    delta = json.loads(event.data)["choices"][0]["delta"]
                    print(delta.get("content", ""), end="", flush=True)
        except TimeoutError:
            print("(given up)")


asyncio.run(main(*sys.argv[1:]))
