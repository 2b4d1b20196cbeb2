"""Fixtures of every room: real servers (tests/servers), and the plugin that programs load too."""

pytest_plugins = ["tests.servers.fixtures", "tests.servers.http2", "wherry.testing.plugin", "pytester"]
