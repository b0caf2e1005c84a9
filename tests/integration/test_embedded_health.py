# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that hang are noticed, and busy ones left alone."""

import os
import signal
import socket
import sys
import threading

import pytest

from render_farm.embedded import health
from render_farm.embedded.health import Patience, TouchedFile, Watched, http_question, patience_of
from render_farm.embedded.part import Part, Program

QUICK = Patience(every=0.02, answer=0.1, silence=0.2)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    return clock


def test_silence_counts_from_the_last_answer_and_takes_several_questions(clock):
    answers = iter([True, False, False, False])
    watched = Watched(lambda _: next(answers), Patience(silence=20, tries=3))
    clock.now += 5
    assert not watched.silent()
    clock.now += 30  # long enough, but it was asked only once
    assert not watched.silent()
    assert not watched.silent()
    assert watched.silent() == 30


def test_one_answer_ends_a_silence(clock):
    answers = iter([False, False, True, False, False, False])
    watched = Watched(lambda _: next(answers), Patience(silence=20, tries=3))
    for _ in range(5):
        clock.now += 8
        assert not watched.silent()
    clock.now += 8
    assert watched.silent() == 24


def test_many_questions_in_a_short_time_are_no_long_silence(clock):
    watched = Watched(lambda _: False, Patience(silence=20, tries=3))
    for _ in range(10):
        clock.now += 1
        assert not watched.silent()


def test_a_touched_file_answers_once_for_each_touch(tmp_path):
    ask = TouchedFile(tmp_path / "alive")
    assert not ask(1)
    (tmp_path / "alive").touch()
    assert ask(1)
    assert not ask(1)
    os.utime(tmp_path / "alive", ns=(1, 1))  # whatever the clock says
    assert ask(1)


def test_a_server_that_accepts_and_says_nothing_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask = http_question(f"http://127.0.0.1:{server.getsockname()[1]}/health")
        assert not ask(0.1)

        def refuse():
            link, _ = server.accept()
            link.recv(1000)
            link.sendall(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n")
            link.close()

        link, _ = server.accept()  # the one before
        link.close()
        thread = threading.Thread(target=refuse)
        thread.start()
        assert ask(10)
        thread.join()
    assert not ask(0.1)


def test_short_silences_are_asked_for_often():
    assert patience_of(4).every == 1
    assert patience_of(30) == Patience()


def test_a_part_that_hangs_is_killed_and_started_again(tmp_path):
    alive, ready = tmp_path / "alive", threading.Semaphore(0)
    code = "import pathlib, sys, time\nwhile True: pathlib.Path(sys.argv[1]).touch(); time.sleep(0.005)"
    program = Program(
        name="part",
        command=lambda: [sys.executable, "-c", code, str(alive)],
        log=tmp_path / "log",
        ready=lambda _: alive.exists(),
        answers=TouchedFile(alive),
    )
    part = Part(program, ready.release, QUICK)
    part.start()
    try:
        assert ready.acquire(timeout=20)
        first = part.process()
        os.kill(first.pid, signal.SIGSTOP)
        assert ready.acquire(timeout=20)
        assert part.process().pid != first.pid
    finally:
        part.stop()
