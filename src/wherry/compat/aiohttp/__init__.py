"""What exists for programs that reach inside aiohttp: drop-in mode, private names, overrides."""
