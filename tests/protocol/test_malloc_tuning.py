"""Large messages do not make the heap shrink and grow."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
if sys.argv[1] == "kept":
    from wherry.protocol.malloc_tuning import tune_malloc
    tune_malloc()
def turn():
    blocks = [b"x" * 65536 for _ in range(16)]
    del blocks
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only glibc's allocator gives its heap back so eagerly",
)
def test_the_heap_is_taken_once() -> None:
    # MALLOC_TRIM_THRESHOLD_ and the like are somebody's own tuning, and win (mallopt(3)).
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}

    def faults(how: str) -> int:
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)

    assert faults("kept") < 1000
    assert faults("left") > 5 * faults("kept")
