"""Redis: in memory only, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

from tests.servers.process import RealServer, find_program, free_port


class RedisServer(RealServer):
    """A running redis-server."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        super().__init__("redis", directory, [port])
        settings = {
            "bind": "127.0.0.1",
            "port": port,
            "dir": directory,
            "logfile": self.log_path,
            "save": '""',
            "appendonly": "no",
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        self.start([find_program("redis-server"), self.write("redis.conf", lines)])
