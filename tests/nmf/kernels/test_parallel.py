from __future__ import annotations

import threading

import pytest
from tuner_plugins.nmf.kernels.parallel import run_threads


@pytest.mark.parametrize("threads", [0, 1, 3, 20])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_piece_is_done_once(count: int, threads: int) -> None:
    done: list[int] = []
    run_threads(done.append, count, threads)
    assert sorted(done) == list(range(count))


def test_pieces_run_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=10)
    run_threads(lambda _: barrier.wait(), 2, 2)
    assert not barrier.broken


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_failure_is_raised_and_the_rest_left_out(threads: int) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError("piece 2")

    with pytest.raises(ValueError, match="piece 2"):
        run_threads(work, 1000, threads)
    assert len(begun) < 1000
