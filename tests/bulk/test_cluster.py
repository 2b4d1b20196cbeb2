"""The parts of a cluster that need no engine, and the driver with nodes of this process."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bulk.cluster_site import Watcher, committed
from tests.bulk.site import Loopback

from wherry.bulk import CheckpointError, Jsonl, Memory
from wherry.bulk.backlog_on_disk import key_of
from wherry.bulk.checkpoint import Outcome
from wherry.bulk.cluster.driver import Driver
from wherry.bulk.cluster.engine import Engine, WorkerLost
from wherry.bulk.cluster.job_handle import ClusterJob, RunInProgress
from wherry.bulk.cluster.lease import Lease, ProcessName
from wherry.bulk.cluster.manifests import Manifest, ManifestCheckpoint, Start
from wherry.bulk.cluster.parted_inputs import PartedInput, find_sources, fingerprint, lines_of
from wherry.bulk.cluster.partitions import host_of, partition_of
from wherry.bulk.cluster.placement import next_move, roomiest
from wherry.bulk.cluster.shared_folder import shared_folder_at
from wherry.bulk.cluster.task_runner import Task, Worker
from wherry.bulk.sinks.base import Shard

# --- whose a URL is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example/x", "a.example"),
        ("https://A.Example:8443/x?y#z", "a.example"),
        ("http://www.a.example", "a.example"),
        ("http://user:p%40ss@a.example/x@y", "a.example"),
        ("http://a.example.?q=/", "a.example"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("not a URL", "not a URL"),
    ],
)
def test_every_url_of_a_host_has_one_key(url, host):
    assert host_of(url) == host


def test_partitions_are_the_same_for_ever():
    # A manifest of an earlier version is found again by these.
    assert [partition_of(f"http://host{number}.example/", 1000) for number in range(4)] == [
        34,
        842,
        972,
        99,
    ]


@given(st.lists(st.text("abcxyz-", min_size=1, max_size=12), max_size=5), st.integers(1, 50))
def test_port_scheme_and_path_change_no_partition(hosts, count):
    for host in (f"{name}.example" for name in hosts):
        ways = (
            f"http://{host}/",
            f"https://{host.upper()}:8443/a?b=http://c/",
            f"http://www.{host}",
        )
        assert len({partition_of(url, count) for url in ways}) == 1


# --- which node has it ----------------------------------------------------------------------------

NODES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 8), min_size=1)


@given(NODES, st.lists(st.sampled_from("abcdefgh"), max_size=40))
def test_moves_end_and_leave_no_node_with_much_more_than_another(slots, given_to):
    owners = {number: node for number, node in enumerate(given_to) if node in slots}
    for _ in range(len(owners) + 1):
        move = next_move(slots, owners)
        if move is None:
            break
        assert owners[move[0]] != move[1]
        owners[move[0]] = move[1]
    else:
        pytest.fail("they never end")
    loads = Counter(owners.values())
    for node in slots:
        for other in slots:
            # One partition more would burden the other no less.
            assert loads[node] / slots[node] <= (loads[other] + 1) / slots[other] + 1e-9


@given(NODES)
def test_partitions_spread_by_what_nodes_are_worth(slots):
    loads = Counter()
    for _ in range(3 * sum(slots.values())):
        loads[roomiest(slots, loads)] += 1
    assert loads == {node: 3 * worth for node, worth in slots.items()}
    assert roomiest({}, {}) is None
    assert next_move({}, {1: "a"}) is None


# --- how long it may go on ------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(*[st.floats(0, 50)] * 4), max_size=30), st.floats(1, 60))
def test_the_driver_never_counts_less_than_the_worker(turns, seconds):
    """Whatever the calls take on their ways: a lease has ended when the driver thinks so."""
    clock = Clock()
    lease = Lease(seconds, clock)
    for thinking, out, work, back in turns:
        clock.now += thinking
        called = clock.now
        clock.now += out
        if lease.left <= 0:
            break
        lease.called()
        assert lease.ends <= called + seconds + 1e-6
        clock.now += work
        lease.answered()
        clock.now += back


def test_a_process_is_told_from_all_others():
    mine = ProcessName.own()
    assert mine is not None
    assert not mine.has_ended()
    assert not ProcessName("another machine", mine.pid, "0").has_ended()
    assert ProcessName(mine.machine, mine.pid, "0").has_ended()  # the number was given again
    assert pickle.loads(pickle.dumps(mine)) == mine


# --- the input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1000, 10**9])
def test_an_input_is_parted_without_loss(tmp_path, kept):
    lists = tmp_path / "lists"
    lists.mkdir()
    urls = [f"http://h{number % 7}.example/{number}" for number in range(100)]
    (lists / "a.txt").write_text("\n".join(urls[:50]))
    (lists / "b.txt").write_text("# told\n\n" + "\n".join(urls[50:]) + "\n")
    sources = find_sources([str(lists / "*.txt")])
    assert fingerprint(sources) != fingerprint(sources[:1])
    parted = PartedInput(shared_folder_at(str(tmp_path / "run")), 1, 5)
    for number, source in enumerate(sources):
        assert not parted.is_split(number)
        assert parted.split(lines_of(source), number, kept) == 50
        assert parted.split(lines_of(source), number, kept) == 50  # again is no more
        assert parted.is_split(number)
    found = {
        number: [url for piece in parted.pieces(number) for url in parted.read(piece)]
        for number in range(5)
    }
    assert sorted(url for each in found.values() for url in each) == sorted(urls)
    for number, each in found.items():
        assert all(partition_of(url, 5) == number for url in each)
        assert parted.is_empty(number) == (not each)


def test_lists_in_memory_of_fsspec_and_packed(tmp_path):
    import gzip

    import fsspec

    with fsspec.open("memory://lists/a.txt.gz", "wb") as file:
        file.write(gzip.compress(b"http://a.example/\n"))
    (source,) = find_sources(["memory://lists/*.gz"])
    assert list(lines_of(source)) == ["http://a.example/"]
    with pytest.raises(FileNotFoundError, match="names no file"):
        find_sources([str(tmp_path / "*.txt")])


@pytest.mark.parametrize("url", ["{}", "file://{}", "memory://{}"])
def test_a_place_keeps_whole_files(tmp_path, url):
    place = shared_folder_at(url.format(tmp_path / "place"))
    assert place.read("x") is None
    assert place.names("done") == []
    place.write("done/b", b"1")
    place.write("done/b", b"2")
    place.write("done/a", b"")
    place.remove("never there")
    assert place.read("done/b") == b"2"
    assert place.names("done") == ["a", "b"]
    place.remove("done/b")
    assert pickle.loads(pickle.dumps(place)).names("done") == ["a"]


# --- manifests ------------------------------------------------------------------------------------


def start(number, since=1):
    return Start("run", 3, number, since)


async def nobody(shards):
    return ()


async def test_what_was_committed_is_found_by_the_next_start(tmp_path):
    place = shared_folder_at(str(tmp_path))
    first = ManifestCheckpoint(place, start(1), lambda: True)
    assert first.begin() == "run-000003.1"
    await first.recover(nobody)
    rows = [
        Outcome("http://a/", None, "s1#0", None, 200, 5, 1),
        Outcome("http://b/", "E: no", None, None, 500, 0, 3),
    ]
    first.prepared([Shard("s1", ".s1", 1, 5)], rows)
    first.committed()
    first.prepared([Shard("s2", ".s2", 1, 5), Shard("s3", ".s3", 1, 5)], [
        Outcome("http://c/", None, "s2#0", None, 200, 5, 1),
        Outcome("http://d/", None, "s3#0", None, 200, 5, 1),
    ])  # fmt: skip
    first.close()  # killed before its shards were all visible

    async def two(shards):
        assert [each.name for each in shards] == ["s2", "s3"]
        return {"s2"}

    second = ManifestCheckpoint(place, start(2), lambda: True)
    await second.recover(two)
    done = [second.is_done(key_of(f"http://{name}/")) for name in "abcd"]
    assert done == [True, True, True, False]
    assert [row.url for row in second.recent] == ["http://a/", "http://b/", "http://c/"]
    assert (second.counts.urls, second.counts.pages, second.counts.bytes) == (3, 2, 10)
    assert second.counts.errors == {"E": 1}
    second.close()
    # A later call of the program has none of them to tell.
    third = ManifestCheckpoint(place, start(9, since=9), lambda: True)

    async def both(shards):
        return {"s2"}

    await third.recover(both)
    assert third.recent == []
    assert third.counts.urls == 3
    third.close()


async def test_whose_lease_is_over_commits_nothing(tmp_path):
    place = shared_folder_at(str(tmp_path))
    checkpoint = ManifestCheckpoint(place, start(1), lambda: False)
    with pytest.raises(CheckpointError, match="another worker's"):
        checkpoint.prepared([], [Outcome("http://a/")])
    checkpoint.close()
    assert place.names(start(1).folder) == []


def test_what_is_no_manifest_says_so():
    with pytest.raises(CheckpointError, match="no manifest"):
        Manifest.decode("x", b"nonsense")


# --- the driver, with nodes in this process -------------------------------------------------------


class Near:
    """A worker of this process, until its node is killed."""

    def __init__(self, engine, node, worker):
        self.engine, self.node, self.worker = engine, node, worker

    async def call(self, method, *arguments):
        if self.node not in self.engine.alive:
            raise WorkerLost("its node is gone")
        answer = await getattr(self.worker, method)(*arguments)
        if self.node not in self.engine.alive:
            raise WorkerLost("its node is gone")
        return answer

    def abandon(self):
        self.engine.abandoned.append(asyncio.ensure_future(self.worker.end()))


class Here(Engine):
    """Nodes that are names."""

    def __init__(self, **slots):
        self.alive = dict(slots)
        self.ghosts = {}  # those that are dead, and that the engine takes for alive
        self.abandoned = []
        self.began = []

    async def connect(self):
        pass

    async def nodes(self):
        return {**self.alive, **self.ghosts}

    async def start(self, node, worker):
        if node not in self.alive:
            raise WorkerLost("it is gone")
        self.began.append(node)
        return Near(self, node, self.copied(worker))

    def copied(self, worker):
        return worker

    async def leave(self):
        await asyncio.gather(*self.abandoned)

    def kill(self, node, *, seen=True):
        slots = self.alive.pop(node)
        if not seen:
            self.ghosts[node] = slots


class Far(Here):
    """Nodes that get copies, as real ones do."""

    def copied(self, worker):
        return pickle.loads(pickle.dumps(worker))


class Count(Task):
    """Counts to ten, from where the one before was."""

    def __init__(self, number, done, running):
        self.number, self.done, self.running = number, done, running

    async def run(self, channel):
        self.running[self.number] += 1
        assert self.running[self.number] == 1, "two have the same partition"
        try:
            while self.done[self.number] < 10:
                if channel.stopping.is_set():
                    return None
                if self.number == 13:
                    raise ValueError("poison")
                await asyncio.sleep(0.01)
                self.done[self.number] += 1
                channel.progress += 1
                await channel.put(self.number)
        finally:
            self.running[self.number] -= 1
        return self.number


def driver(engine, done, got, **options):
    running = Counter()
    return Driver(
        engine,
        lambda number: Count(number, done, running),
        lambda number, items: got.update(items),
        lambda: 3,
        **options,
    )


async def test_partitions_of_a_dead_node_go_to_the_others_and_poison_stops_nobody():
    engine, done, got = Here(a=1, b=1), Counter(), Counter()
    # The lease has to run out: nobody can tell whether a process that is ours has ended.
    working = asyncio.ensure_future(
        driver(engine, done, got, lease=0.5, attempts=2).run([1, 2, 3, 13])
    )
    while sum(done.values()) < 8:
        await asyncio.sleep(0)
    engine.kill("b")
    outcome = await working
    assert outcome.values == {1: 1, 2: 2, 3: 3}
    assert set(outcome.failures) == {13}
    assert "poison" in outcome.failures[13]
    assert outcome.lost >= 1
    assert done == {1: 10, 2: 10, 3: 10}
    await engine.leave()


async def test_a_dead_node_that_the_engine_takes_for_alive_gets_nothing_more():
    """Ray needs some 15 seconds to find out."""
    engine, done, got = Here(a=1, b=1), Counter(), Counter()
    working = asyncio.ensure_future(
        driver(engine, done, got, lease=1.0, attempts=1).run(list(range(4)))
    )
    while sum(done.values()) < 8:
        await asyncio.sleep(0)
    engine.kill("b", seen=False)
    outcome = await working
    assert outcome.failures == {}
    assert done == dict.fromkeys(range(4), 10)
    await engine.leave()


async def test_a_node_that_is_added_gets_whole_partitions():
    engine, done, got = Here(a=1), Counter(dict.fromkeys(range(4), -2000)), Counter()
    running = driver(engine, done, got, lease=30.0)
    working = asyncio.ensure_future(running.run([0, 1, 2, 3]))
    while len(running.owners) < 4 or not all(value > -2000 for value in done.values()):
        await asyncio.sleep(0)
    engine.alive["b"] = 1
    while Counter(running.owners.values())["b"] < 2:
        await asyncio.sleep(0)
    done.update(dict.fromkeys(range(4), 3000))
    outcome = await working
    assert outcome.moved == 2
    assert outcome.values.keys() == {0, 1, 2, 3}
    await engine.leave()


async def test_a_worker_that_nobody_asks_ends_by_itself():
    done, running = Counter({1: -(10**6)}), Counter()
    worker = Worker(Count(1, done, running), 0.2)
    await worker.begin()
    await worker.take(1, 0)
    while running[1] == 0:
        await asyncio.sleep(0)
    while running[1]:
        await asyncio.sleep(0.01)
    batch = await worker.take(1, 0)
    assert (batch.ended, batch.error) == (True, "its lease is over")


# --- a whole job, with nodes in this process ------------------------------------------------------

OPTIONS = {"retries": 0, "commit_every": 0.05, "connector_options": {"resolver": Loopback()}}


def job(urls, folder, **options):
    return ClusterJob(
        Far(a=1, b=1),
        urls,
        Jsonl(folder),
        partitions=3,
        lease=20.0,
        options={**OPTIONS, **options},
    )


def test_redirects_to_a_host_of_another_partition_go_on_there(tmp_path):
    """So that nobody but its own worker asks a host for anything; they may lead back and round."""
    with Watcher(0.05) as watcher:
        hosts = [f"h{number}.test" for number in range(9)]
        assert {partition_of(f"http://{host}/", 3) for host in hosts} == {0, 1, 2}

        def url(host, path):
            return f"http://{host}:{watcher.port}{path}"

        other = next(host for host in hosts if not same_partition(host, hosts[0]))
        near = next(host for host in hosts[1:] if same_partition(host, hosts[0]))
        watcher.redirects = {
            f"{hosts[0]}/near": url(near, "/end"),
            f"{hosts[0]}/there": url(other, "/end"),
            f"{hosts[0]}/back": url(other, "/back"),
            f"{other}/back": url(hosts[0], "/end"),
            f"{hosts[0]}/round": url(other, "/round"),
            f"{other}/round": url(hosts[0], "/round"),
            # Many at once, to a host that its own partition asks meanwhile.
            **{f"{hosts[0]}/{number}": url(other, f"/to{number}") for number in range(12)},
        }
        urls = [url(hosts[0], path) for path in ("/near", "/there", "/back", "/round")]
        urls += [url(host, f"/{number}") for number in range(12) for host in hosts]
        options = {"per_host": 1, "rate_per_host": 50.0, "max_redirects": 4}
        with job(urls, tmp_path / "out", **options) as first:
            results = {result.url: result for result in first}
        assert first.report.failed_partitions == {}
        assert sorted(results) == sorted(set(urls))
        assert first.report.urls == len(urls)
        failed = {each: result.error for each, result in results.items() if not result.ok}
        assert list(failed) == [url(hosts[0], "/round")]
        assert "more than 4 redirects" in str(failed.popitem()[1])
        assert set(watcher.most.values()) == {1}
        pages = [
            json.loads(line)
            for file in (tmp_path / "out").glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        ends = {page["url"]: page["final_url"] for page in pages}
        assert len(pages) == len(ends) == len(urls) - 1
        assert ends[url(hosts[0], "/back")] == url(hosts[0], "/end")
        assert ends[url(hosts[0], "/there")] == url(other, "/end")
        asked = watcher.asked.copy()
        with job(urls, tmp_path / "out", **options) as second:
            assert list(second) == []
        assert second.report.urls == len(urls)
        assert watcher.asked == asked


def same_partition(host, other):
    return partition_of(f"http://{host}/", 3) == partition_of(f"http://{other}/", 3)


def test_a_job_is_done_once_and_the_same_call_goes_on(tmp_path):
    with Watcher(0) as watcher:
        urls = [f"http://h{number % 5}.test:{watcher.port}/{number}" for number in range(60)]
        lists = tmp_path / "urls.txt"
        lists.write_text("\n".join(urls[:40]))
        with job(lists, tmp_path / "out") as first:
            results = list(first)
        assert sorted(each.url for each in results) == sorted(urls[:40])
        assert all(each.ok for each in results)
        assert (first.report.urls, first.report.pages, first.report.failed) == (40, 40, 0)
        assert first.report.ok
        lists.write_text("\n".join(urls))
        with job(lists, tmp_path / "out") as second:
            results = list(second)
        assert sorted(each.url for each in results) == sorted(urls[40:])
        assert (second.report.urls, second.report.statuses) == (60, {200: 60})
        assert set(watcher.asked.values()) == {1}
        # A generator of URLs is an input as well; all is done.
        with job((url for url in urls), tmp_path / "out") as third:
            assert list(third) == []
        assert set(watcher.asked.values()) == {1}
    assert committed(
        shared_folder_at(str(tmp_path / "out" / "_wherry")), 3, tmp_path / "out"
    ) == set(urls)
    lines = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl"))
    assert lines.count(b"\n") == 60


def test_two_programs_do_not_work_on_one_run(tmp_path):
    with Watcher(0.05) as watcher:
        urls = [f"http://a.test:{watcher.port}/{number}" for number in range(100)]
        first = job(urls, tmp_path, per_host=1)
        second = job(urls, tmp_path)
        first._lease = second._lease = 1.0
        with first:
            next(iter(first))
            with second, pytest.raises(RunInProgress, match="another program"):
                list(second)
    assert not Path(tmp_path, "_wherry", "driver.json").exists()


def test_who_leaves_early_can_go_on(tmp_path):
    with Watcher(0) as watcher:
        urls = [
            f"http://h{number}.test:{watcher.port}/{page}"
            for number in range(4)
            for page in range(30)
        ]
        with job(urls, tmp_path, per_host=1) as first:
            next(iter(first))
        with job(urls, tmp_path) as second:
            list(second)
        assert second.report.pages == 120


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"options": {"follow": print}}, "follow= is not for clusters: links"),
        ({"options": {"per_hots": 1}}, "per_hots"),
        ({"options": {"per_host": 0}}, "per_host is at least 1"),
        ({"partitions": 0}, "partitions is at least 1"),
        ({"lease": 0}, "lease is a positive number"),
        ({"attempts": 0}, "attempts is at least 1"),
    ],
)
def test_what_makes_no_sense_is_told_at_once(tmp_path, options, told):
    with pytest.raises((TypeError, ValueError), match=told):
        ClusterJob(Here(a=1), [], Jsonl(tmp_path), **options)


def test_a_sink_without_a_place_needs_one_for_the_manifests():
    with pytest.raises(ValueError, match="say checkpoint="):
        ClusterJob(Here(a=1), [], Memory())


def test_an_input_that_is_not_there_is_an_error_of_the_program(tmp_path):
    with job(tmp_path / "nothing.txt", tmp_path) as running, pytest.raises(FileNotFoundError):
        list(running)
