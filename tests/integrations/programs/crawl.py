"""A Scrapy crawl over wherry: prints what became of each request, as JSON.

    python crawl.py URL PLAIN_SETTINGS

The URL is of tests/integrations/test_scrapy.py's server, which counts what it gets.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess
from scrapy.downloadermiddlewares import cookies
from scrapy.exceptions import StopDownload
from tldextract import TLDExtract

HANDLER = "wherry.integrations.scrapy.WherryDownloadHandler"
outcomes: dict[str, Any] = {}
# Else its first use on a machine asks the public suffix list's own server.
cookies._split_domain = TLDExtract(suffix_list_urls=(), cache_dir=None)


class Crawl(scrapy.Spider):
    name = "crawl"

    @classmethod
    def from_crawler(cls, crawler: Any, *arguments: Any, **options: Any) -> Any:
        spider = super().from_crawler(crawler, *arguments, **options)
        crawler.signals.connect(spider.head_came, signals.headers_received)
        crawler.signals.connect(spider.bytes_came, signals.bytes_received)
        return spider

    def head_came(self, headers: Any, body_length: Any, request: Any, spider: Any) -> None:
        if request.meta.get("stop") == "head":
            raise StopDownload(fail=False)

    def bytes_came(self, data: bytes, request: Any, spider: Any) -> None:
        if request.meta.get("stop") == "body":
            raise StopDownload(fail=True)

    async def start(self) -> Any:
        for name, row in self.rows.items():
            yield scrapy.Request(
                row.pop("url"),
                callback=self.came,
                errback=self.failed,
                cb_kwargs={"name": name},
                dont_filter=True,
                **row,
            )

    def came(self, response: Any, name: str) -> None:
        outcomes[name] = {
            "kind": type(response).__name__,
            "url": response.url,
            "status": response.status,
            "size": len(response.body),
            "body": response.body[:2000].decode("latin-1"),
            "flags": response.flags,
            "protocol": response.protocol,
            "ip": str(response.ip_address),
            "certificate": response.certificate
            and response.certificate.getSubject().get("commonName", b"").decode(),
            "cookies": [value.decode() for value in response.headers.getlist("Set-Cookie")],
            "latency": response.meta["download_latency"],
            "retries": response.meta.get("retry_times", 0),
            "redirects": response.meta.get("redirect_times", 0),
        }

    def failed(self, failure: Any) -> None:
        request = failure.request
        stopped = getattr(failure.value, "response", None)
        outcomes[request.cb_kwargs["name"]] = {
            "error": type(failure.value).__name__,
            "retries": request.meta.get("retry_times", 0),
            "flags": getattr(stopped, "flags", None),
            "said": str(failure.value),
        }


rows, settings = json.loads(sys.argv[1])
Crawl.rows = rows
kind = CrawlerProcess if settings.get("TWISTED_REACTOR_ENABLED", True) else AsyncCrawlerProcess
process = kind(
    {
        "DOWNLOAD_HANDLERS": {"http": HANDLER, "https": HANDLER},
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "WARNING",
        "RETRY_TIMES": 1,
        "RETRY_PRIORITY_ADJUST": 0,
        "AUTOTHROTTLE_ENABLED": False,
        "DOWNLOAD_DELAY": 0,
        **settings,
    }
)
process.crawl(Crawl)
process.start()
print(json.dumps(outcomes))
