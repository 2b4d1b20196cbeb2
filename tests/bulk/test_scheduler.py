"""Which URL comes next, in virtual time: rates, rests, fairness, bounds, and nothing lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wherry
from wherry.bulk.backlog_on_disk import Backlog, Overflow, Seen, key_of
from wherry.bulk.hosts import Breaker, Hosts, Job, canonical, name_of
from wherry.bulk.scheduler import Scheduler, SchedulerLimits


@pytest.fixture
def overflow():
    overflow = Overflow()
    yield overflow
    overflow.close()


def add(scheduler, *urls, now=0.0):
    for url in urls:
        scheduler.add(scheduler.hosts.job(url), now)


def take(scheduler, now=0.0):
    taken = scheduler.take(now)
    return None if taken is None else taken[0].url


# --- URLs and hosts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("http://a.test", "http://a.test/"),
        (" http://A.TEST:80/x#top\n", "http://a.test/x"),
        ("https://a.test:443?q=/1", "https://a.test/?q=/1"),
        ("http://me@a.test", "http://me@a.test/"),
        ("https://a.test:80/", "https://a.test:80/"),
        ("http://bücher.test/ä b", "http://xn--bcher-kva.test/%C3%A4%20b"),
        ("http://[::1]:8080/../x", "http://[::1]:8080/x"),
    ],
)
def test_urls_have_one_form(text, form):
    assert canonical(text) == form
    assert canonical(form) == form
    assert Hosts(10).job(text).url == form


@pytest.mark.parametrize(
    "text", ["", "a.test", "ftp://a.test/", "http://", "http://a.test:x/", "/"]
)
def test_what_is_no_url_is_refused(text):
    with pytest.raises(wherry.InvalidURL):
        canonical(text)


def test_the_short_way_gives_what_the_long_one_gives():
    hosts = Hosts(10)
    for text in ("http://a.test/x", "http://a.test/y?z=1", "http://a.test/%7e", "http://a.test/ä"):
        hosts.of(canonical("http://a.test/"), 0.0)
        assert hosts.job(text).url == canonical(text)


def test_a_host_is_a_name_and_a_port_that_is_not_the_usual_one():
    hosts = Hosts(10)
    assert hosts.of("http://a.test/", 0) is hosts.of("https://a.test/", 0)
    assert hosts.of("http://a.test/", 0) is not hosts.of("http://a.test:8080/", 0)
    assert name_of("https://a.test:443") == "a.test"
    assert name_of("http://a.test:443") == "a.test:443"


def test_names_and_passwords_make_no_hosts_and_no_origins():
    hosts = Hosts(10)
    host = hosts.of("http://a.test/", 0)
    for number in range(100):
        assert hosts.of(canonical(f"http://{number}:p%40@a.test/x@y"), 0) is host
        assert hosts.of(canonical(f"https://{number}@a.test/"), 0) is host
    assert len(host.origins) == len(hosts._by_origin) == 2
    assert hosts.of(canonical("http://me@[::1]:8080/"), 0).name == "::1:8080"
    # What a URL says of its own is kept.
    assert hosts.job("http://me@a.test/x").url == "http://me@a.test/x"


def test_hosts_with_nothing_to_do_are_forgotten(overflow):
    scheduler = Scheduler(SchedulerLimits(hosts=100), overflow)
    for number in range(5000):
        add(scheduler, f"http://h{number}.test/")
        _, host = scheduler.take(0.0)
        scheduler.finished(host, 0.0)
    assert len(scheduler.hosts) <= 1024
    assert scheduler.idle


def test_the_input_waits_while_too_many_hosts_are_known(overflow):
    scheduler = Scheduler(SchedulerLimits(hosts=3, buffer=100), overflow)
    add(scheduler, *(f"http://h{n}.test/" for n in range(3)))
    assert not scheduler.allowance(0.0, starving=True)
    _, host = scheduler.take(0.0)
    scheduler.finished(host, 0.0)
    assert scheduler.allowance(0.0, starving=True)


def test_hosts_that_must_be_left_alone_take_nobodys_room(overflow):
    scheduler = Scheduler(SchedulerLimits(hosts=3, buffer=100), overflow)
    for number in range(20):
        assert scheduler.allowance(0.0, starving=True), number
        add(scheduler, f"http://h{number}.test/")
        _, host = scheduler.take(0.0)
        if number % 3 == 0:
            host.rest(1e6, 0.0, 300)
        elif number % 3 == 1:
            host.rest(200, 0.0, 300)
        else:
            host.next_at = 60.0
        scheduler.finished(host, 0.0)
    assert len(scheduler.hosts) <= 3
    # What was put aside last is known still; the oldest are forgotten.
    assert scheduler.hosts.of("http://h16.test/", 0.0).rests_until == 200
    assert scheduler.hosts.of("http://h0.test/", 0.0).dead_until == 0
    assert len(scheduler.hosts._aside) <= 3


def test_who_comes_back_from_aside_rests_on(overflow):
    scheduler = Scheduler(SchedulerLimits(hosts=1, buffer=100), overflow)
    add(scheduler, "http://a.test/1")
    _, host = scheduler.take(0.0)
    host.rest(50, 0.0, 300)
    scheduler.finished(host, 0.0)
    assert scheduler.allowance(0.0, starving=True)
    assert len(scheduler.hosts) == 0
    add(scheduler, "http://a.test/2")
    assert scheduler.hosts.of("http://a.test/", 0.0) is host
    assert not scheduler.allowance(0.0, starving=True)
    assert take(scheduler, 49.0) is None
    assert take(scheduler, 50.0) == "http://a.test/2"


def test_a_host_that_cannot_be_reached_rests_is_tried_by_one_and_is_given_up(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=3), overflow)
    breaker = Breaker(after=3, pause=10, trips=3, dead_for=100)
    add(scheduler, *(f"http://a.test/{n}" for n in range(20)))

    def fail(now, times=1):
        taken = [scheduler.take(now) for _ in range(times)]
        for _, host in taken:
            host.unreachable(breaker, now)
            scheduler.finished(host, now)

    fail(0, 3)
    assert scheduler.take(9.9) is None
    assert scheduler.next_time() == 10
    taken = scheduler.take(10)
    assert taken is not None
    assert scheduler.take(10) is None  # by one alone
    taken[1].unreachable(breaker, 10)
    scheduler.finished(taken[1], 10)
    assert scheduler.take(29) is None
    fail(30)
    _, host = scheduler.take(30)
    assert host.dead_until == 130
    scheduler.finished(host, 30)
    # After that it is tried again, and is well.
    _, host = scheduler.take(131)
    host.reached()
    scheduler.finished(host, 131)
    assert [take(scheduler, 131) is not None for _ in range(4)] == [True] * 3 + [False]


def test_rests_that_are_asked_for_at_once_count_once():
    host = Hosts(10).of("http://a.test/", 0)
    for _ in range(4):
        host.rest(5, 0, 100)
    assert host.strikes == 1
    assert host.rests_until == 5


# --- turns -----------------------------------------------------------------------------------------


def test_each_host_has_its_turn(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=100), overflow)
    add(scheduler, *(f"http://large.test/{n}" for n in range(30)))
    add(scheduler, "http://b.test/", "http://c.test/")
    order = [take(scheduler) for _ in range(4)]
    assert "http://b.test/" in order[:3]
    assert "http://c.test/" in order[:3]


def test_no_more_of_a_host_than_allowed(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=2), overflow)
    add(scheduler, *(f"http://a.test/{n}" for n in range(5)))
    first = scheduler.take(0.0)
    assert take(scheduler) == "http://a.test/1"
    assert take(scheduler) is None
    scheduler.finished(first[1], 0.0)
    assert take(scheduler) == "http://a.test/2"


def test_a_rate_is_kept(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=9, interval=2.0), overflow)
    add(scheduler, *(f"http://a.test/{n}" for n in range(3)), "http://b.test/")
    assert take(scheduler, 0.0) == "http://a.test/0"
    assert take(scheduler, 0.0) == "http://b.test/"
    assert take(scheduler, 1.9) is None
    assert scheduler.next_time() == 2.0
    assert take(scheduler, 2.5) == "http://a.test/1"
    assert take(scheduler, 4.4) is None
    assert take(scheduler, 4.5) == "http://a.test/2"


def test_a_further_try_waits_and_comes_first(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=1), overflow)
    add(scheduler, "http://a.test/0", "http://a.test/1")
    job, host = scheduler.take(0.0)
    scheduler.again(job, 0.0, delay=5.0)
    scheduler.finished(host, 0.0)
    assert not scheduler.idle
    assert take(scheduler, 0.0) == "http://a.test/1"
    scheduler.finished(host, 1.0)
    assert take(scheduler, 4.0) is None
    assert take(scheduler, 5.0) == "http://a.test/0"


def test_a_host_that_is_held_starts_nothing(overflow):
    scheduler = Scheduler(SchedulerLimits(), overflow)
    add(scheduler, "http://a.test/0", "http://a.test/1")
    job, host = scheduler.take(0.0)
    scheduler.hold(host)
    assert scheduler.take(0.0) is None
    scheduler.again(job, 0.0)
    scheduler.release(host, 0.0)
    scheduler.finished(host, 0.0)
    assert take(scheduler) == "http://a.test/0"


def test_what_is_too_much_for_memory_keeps_its_order_on_disk(overflow):
    scheduler = Scheduler(SchedulerLimits(per_host=10**6, buffer=100), overflow)
    urls = [f"http://a.test/{n}" for n in range(3000)]
    add(scheduler, *urls)
    assert scheduler.queued <= 100
    assert scheduler.spilled == 3000 - scheduler.queued
    assert [take(scheduler) for _ in range(3000)] == urls
    assert scheduler.spilled == scheduler.queued == 0


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 4)),
        st.tuples(st.just("take"), st.floats(0, 3)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("again"), st.floats(0, 4)),
        st.tuples(st.just("hold"), st.integers(0, 9)),
        st.tuples(st.just("rest"), st.floats(0, 9)),
        st.tuples(st.just("fail"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(
    actions=ACTIONS,
    per_host=st.integers(1, 3),
    interval=st.sampled_from([0.0, 1.0]),
    buffer=st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_whatever_happens(actions, per_host, interval, buffer):  # noqa: C901
    """Every job that came in comes out once, and the limits of each host hold."""
    overflow = Overflow()
    limits = SchedulerLimits(per_host=per_host, interval=interval, buffer=buffer)
    scheduler = Scheduler(limits, overflow)
    breaker = Breaker(after=2, pause=3, trips=2, dead_for=20)
    now, added = 0.0, 0
    active: list = []
    held: list = []
    came: Counter = Counter()
    started: dict = {}

    def take():
        taken = scheduler.take(now)
        if taken is None:
            return False
        job, host = taken
        active.append(taken)
        assert not host.held
        assert sum(each is host for _, each in active) <= per_host or host.dead_until > now
        if interval and host.dead_until <= now and not job.attempts:
            assert now - started.get(host.name, -9.0) >= interval - 1e-9
            started[host.name] = now
        elif interval:
            started[host.name] = now
        return True

    def finish(number):
        job, host = active.pop(number % len(active))
        came[job.url] += 1
        scheduler.finished(host, now)

    for action, value in actions:
        if action == "add":
            added += 1
            scheduler.add(Job(f"http://h{value}.test/{added}"), now)
        elif action == "take":
            now += value
            take()
        elif active and action == "finish":
            finish(value)
        elif active and action == "again":
            job, host = active.pop()
            job.attempts += 1
            scheduler.again(job, now, value)
            scheduler.finished(host, now)
        elif active and action == "hold":
            host = active[value % len(active)][1]
            scheduler.hold(host)
            held.append(host)
        elif active and action == "rest":
            active[-1][1].rest(value, now, 6)
        elif active and action == "fail":
            active[value % len(active)][1].unreachable(breaker, now)
        assert scheduler.active == len(active)
        assert scheduler.queued <= buffer + 5 + len(actions)
    for host in held:
        scheduler.release(host, now)
    while not scheduler.idle:
        if take():
            continue
        if active:
            finish(0)
        else:
            when = scheduler.next_time()
            assert when is not None, "something waits for ever"
            now = max(now, when)
    assert sum(came.values()) == len(came) == added
    overflow.close()


# --- what is on disk --------------------------------------------------------------------------------


def test_a_backlog_is_one_queue(overflow):
    backlog = Backlog(overflow, most=3)
    for number in range(10):
        backlog.push(Job(f"u:{number}", number, number % 2 == 0))
    assert len(backlog) == 10
    jobs = [backlog.pop() for _ in range(10)]
    assert [(job.url, job.depth, job.trusted) for job in jobs] == [
        (f"u:{number}", number, number % 2 == 0) for number in range(10)
    ]
    assert not backlog
    with pytest.raises(IndexError):
        backlog.pop()


def test_what_was_seen_is_known_in_memory_and_on_disk(overflow):
    seen = Seen(overflow, "seen", most=10)
    keys = [key_of(str(number)) for number in range(50)]
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)
    other = Seen(overflow, "other", most=10)
    assert all(other.add(key) for key in keys)
