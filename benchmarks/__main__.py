"""`make bench`: every client in every scenario, in one run, on asyncio and uvloop; prints and keeps
a table.

The rounds are interleaved, each client runs in a fresh process, the server has a processor of its
own, and what counts is the median of CPU time a request.  Absolute figures change from machine to
machine: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.scenarios import SCENARIOS, Scenario, Server, nginx

CLIENTS = (
    "floor",
    "wherry",
    "pyreqwest",
    "pyqwest",
    "aiosonic",
    "aiohttp",
    "curl_cffi",
    "niquests",
    "httpx2",
    "httpx",
)
HERE = Path(__file__).parent
# What a client does not offer, or what the floor has no meaning for.
LEFT_OUT = {
    ("floor", "post"),
    ("floor", "upload"),
    ("floor", "multipart"),
    ("floor", "hosts"),
    ("pyreqwest", "multipart"),
    ("pyqwest", "multipart"),
}
LEFT_OUT |= {(name, "http2") for name in ("floor", "aiohttp", "aiosonic")}
# Written for those that take query and fields as these do, and show a response's fields.
LEFT_OUT |= {
    (name, kind)
    for name in CLIENTS
    for kind in ("params", "headers")
    if name not in {"wherry", "aiohttp", "pyreqwest", "pyqwest", "httpx", "httpx2"}
}
# What writes JSON is the program's choice with these two only; pyreqwest's is of its own kind.
LEFT_OUT |= {(name, "orjson") for name in CLIENTS if name not in {"wherry", "aiohttp", "pyreqwest"}}
# Only these two have middlewares and trace listeners of this kind.
LEFT_OUT |= {
    (name, kind)
    for name in CLIENTS
    for kind in ("middlewares", "traced", "session")
    if name not in {"wherry", "aiohttp"}
}

Samples = dict[tuple[str, str, str], list[dict[str, float]]]


def run_once(server: Server, scenario: Scenario, client: str, loop: str) -> dict[str, float] | None:
    command = [sys.executable, "-m", "benchmarks.clients", scenario.name, client, loop]
    command += [" ".join(server.urls(scenario)), str(server.authority), str(server.upload)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, cwd=HERE.parent
        )
        return {
            key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()
        }
    except (subprocess.SubprocessError, ValueError, IndexError) as exc:
        detail = (getattr(exc, "stderr", "") or str(exc)).strip().splitlines()
        print(f"  {client} on {loop}: {detail[-1] if detail else exc}", file=sys.stderr)
        return None


def cell(samples: list[dict[str, float]], kind: str) -> str:
    if not samples:
        return "-"
    value = statistics.median(sample["value"] for sample in samples)
    if kind == "latency":
        p99, cpu, growth = (
            statistics.median(sample[key] for sample in samples)
            for key in ("p99", "cpu", "growth_mib")
        )
        return f"{value:.0f}/{p99:.0f}, {cpu:.0f}, {growth:+.1f}"
    return f"{value:.0f}"


def table(samples: Samples, scenarios: list[Scenario], clients: list[str], loops: list[str]) -> str:
    lines = [
        f"| scenario ({' / '.join(loops)}) | unit | " + " | ".join(clients) + " |",
        "|---" * (len(clients) + 2) + "|",
    ]
    for scenario in scenarios:
        row = [scenario.title, scenario.unit]
        row += [
            " / ".join(cell(samples[scenario.name, client, loop], scenario.kind) for loop in loops)
            for client in clients
        ]
        lines.append("| " + " | ".join(row) + " |")
    lines += [
        "",
        f"| times wherry ({' / '.join(loops)}) | " + " | ".join(clients) + " |",
        "|---" * (len(clients) + 1) + "|",
    ]
    for scenario in scenarios:
        row = [scenario.title]
        key = "p99" if scenario.kind == "latency" else "value"
        for client in clients:
            ratios = []
            for loop in loops:
                own, other = (
                    samples[scenario.name, "wherry", loop],
                    samples[scenario.name, client, loop],
                )
                if own and other:
                    ratio = statistics.median(s[key] for s in other) / statistics.median(
                        s[key] for s in own
                    )
                    ratios.append(f"{ratio:.2f}")
                else:
                    ratios.append("-")
            row.append(" / ".join(ratios))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenarios", nargs="*", default=names, choices=names)
    parser.add_argument("--clients", nargs="*", default=list(CLIENTS), choices=list(CLIENTS))
    parser.add_argument("--loops", nargs="*", default=["asyncio", "uvloop"])
    parser.add_argument("--output", type=Path, default=HERE / "results.md")
    options = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios]
    samples: Samples = {
        (s.name, c, loop): [] for s in scenarios for c in options.clients for loop in options.loops
    }
    with nginx() as server:
        for scenario in scenarios:
            print(scenario.title, file=sys.stderr)
            for _ in range(options.rounds):
                for loop in options.loops:
                    for client in options.clients:
                        if (client, scenario.kind) not in LEFT_OUT:
                            figures = run_once(server, scenario, client, loop)
                            if figures is not None:
                                samples[scenario.name, client, loop].append(figures)
    text = table(samples, scenarios, options.clients, options.loops)
    print(text)
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    rounds = options.rounds
    taken = "one round" if rounds == 1 else f"medians of {rounds} interleaved rounds"
    note = (
        f"# Benchmarks\n\n`make bench` on {where}: {taken}, "
        "the server on one processor and the client on another. Read the ratios: absolute figures "
        "change from machine to machine.\n\n"
    )
    options.output.write_text(note + text + "\n")


if __name__ == "__main__":
    main()
