"""Crawls a site politely into Parquet or JSON lines; the same command again goes on where it ended.

python crawler.py https://example.org/ parquet:pages/ 1.0
"""
import asyncio
import sys

from wherry.bulk import Fetcher, links_within_host, parse_sink


async def main(start: str, into: str, rate: str) -> None:
    async with Fetcher(
        per_host=2,
        rate_per_host=float(rate),
        robots=True,
        checkpoint="crawl.sqlite",
        follow=links_within_host,
        max_pages=2000,
    ) as fetcher:
        async for result in fetcher.fetch([start], into=parse_sink(into)):
            if result.error:
                print(result.url, result.error)
        print(fetcher.report.pages, "pages")


asyncio.run(main(*sys.argv[1:]))
