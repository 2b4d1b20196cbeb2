"""Fixtures of every room: real servers (tests/servers), and the plugin that programs load too."""

from hypothesis import settings

pytest_plugins = ["tests.servers.fixtures", "tests.servers.http2", "pytest_wherry", "pytester"]

# How long an example takes says more of the machine than of the code.
settings.register_profile("wherry", deadline=None)
settings.load_profile("wherry")
