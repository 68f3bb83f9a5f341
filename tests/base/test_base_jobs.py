"""Workers keep the order, pass exceptions on and never hold a stream as a whole; versions."""

import operator
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import lightgbm
import numpy
import pytest
import threadpoolctl

import fluid
from fluid.base import errors
from fluid.base.jobs import count_jobs, map_processes, map_threads, single_threaded_blas
from fluid.base.software import software_versions


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (7, 7), (0, 1), (-3, 1)])
def test_the_number_asked_for_is_used_and_at_least_one(jobs, expected):
    assert count_jobs(jobs) == expected


def test_by_default_every_core_this_process_may_use():
    assert 1 <= count_jobs(None) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 37])
def test_threads_keep_the_order(jobs, n):
    assert map_threads(lambda x: x * x, range(n), jobs) == [x * x for x in range(n)]


def test_two_jobs_are_two_threads():
    meeting = threading.Barrier(2, timeout=5)
    assert sorted(map_threads(lambda x: meeting.wait(), range(2), 2)) == [0, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_exception_in_a_thread_reaches_the_caller(jobs):
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda x: 1 // x, [1, 0, 2], jobs)


def test_blas_has_one_thread_inside_and_its_own_number_afterwards():
    before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    with single_threaded_blas():
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before


def test_one_process_keeps_the_order_and_draws_one_item_at_a_time():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    results = map_processes(operator.neg, items(), 1)
    assert next(results) == 0
    assert len(drawn) <= 2
    assert list(results) == [-number for number in range(1, 10)]


@pytest.mark.parametrize("items", [[], [3]])
def test_few_items_need_no_workers(items):
    # A lambda cannot be sent to a worker by name; here it is called at once.
    caller = os.getpid()
    assert list(map_processes(lambda x: (x, os.getpid()), items, 4)) == [(x, caller) for x in items]


def test_two_processes_keep_the_order():
    assert list(map_processes(operator.neg, range(200), 2)) == [-number for number in range(200)]


def test_two_processes_do_not_read_a_stream_to_its_end_before_they_give_results():
    drawn = []

    def naps():
        for number in range(150):
            drawn.append(number)
            yield 0.01

    results = map_processes(time.sleep, naps(), 2)
    next(results)
    assert len(drawn) < 150
    assert len(list(results)) == 149


def test_workers_do_not_run_ahead_of_a_slow_reader():
    drawn = []

    def items():
        for number in range(150):
            drawn.append(number)
            yield number

    results = map_processes(operator.neg, items(), 2)
    assert next(results) == 0
    time.sleep(0.5)
    assert len(drawn) <= 10
    assert list(results) == [-number for number in range(1, 150)]


def test_an_exception_in_a_process_reaches_the_caller_and_the_next_run_is_well():
    with pytest.raises(ZeroDivisionError):
        list(map_processes(_inverse, [1, 2, 0, 4], 2))
    assert list(map_processes(_inverse, [1, 2, 4], 2)) == [1.0, 0.5, 0.25]


def _inverse(number):
    return 1 / number


def test_every_error_is_of_one_family():
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    assert errors.TableError in found
    assert all(issubclass(error, errors.FluidError) for error in found)


def test_versions_name_fluid_and_what_computes_its_numbers():
    versions = software_versions()
    assert versions["fluid"] == fluid.__version__
    assert versions["numpy"] == numpy.__version__
    assert versions["lightgbm"] == lightgbm.__version__
    assert {"rdkit", "scikit-learn", "scipy", "pyarrow"} <= set(versions)


_KILLED = """
import os, time
from fluid.base.jobs import map_processes

def rest(name):
    # As in a fit, no pipe is looked at.
    print(os.getpid(), flush=True)
    time.sleep(300)

list(map_processes(rest, "ab", 2))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = {int(parent.stdout.readline()) for _ in range(2)}
        assert len(workers - {parent.pid}) == 2
        parent.kill()
        # Its output ends when the last that can write to it has ended.
        parent.communicate(timeout=60)
