"""Ctrl-C as a question: asked by work and by the work that contains it; a second one is immediate."""

import os
import signal
import threading

import pytest

from nerfkit.interrupts import stop_on_signals


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_is_a_question_the_second_an_end():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as is_stopped:
        assert not is_stopped()
        ctrl_c()
        assert is_stopped()
        ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before


def test_one_signal_stops_work_and_what_contains_it():
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            ctrl_c()
            assert inner() and outer()
        with stop_on_signals() as later:
            assert not later() and outer()


def test_work_that_has_ended_hears_of_no_later_signal():
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            pass
        ctrl_c()
        assert outer() and not inner()


def test_other_threads_hear_no_signals():
    heard = []

    def work():
        with stop_on_signals() as is_stopped:
            heard.append(is_stopped())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
