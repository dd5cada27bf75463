# SPDX-License-Identifier: Apache-2.0
"""Which failures the soak holds against Keyrail."""

from dataclasses import replace

from soak.judge import Outcome, ServerEnd, failures


def outcome(begin: float, end: float, blade: str = "blade1", error: str = "", answers: int = 1,
            connected: bool = True) -> Outcome:
    return Outcome("download", "198.51.100.1", "1.3", begin, end, 40000, connected, blade, answers, error)


def test_what_breaks_with_its_server_breaks_natively_too() -> None:
    broken = outcome(10, 20, error="reset")
    assert failures([broken, outcome(0, 30)], [outcome(15, 20.5, error="reset")], []) == ([], 1)


def test_all_else_is_ours() -> None:
    broken = outcome(10, 20, error="reset")
    for native in ([], [outcome(0, 30)],  # nothing broke
                   [outcome(15, 20, "blade2", "reset")],  # another blade
                   [outcome(15, 40, error="reset")], [outcome(0, 5, error="reset")],  # another time
                   [outcome(19, 20, error="reset", answers=0)],  # only one that was not yet established
                   [outcome(19, 20, error="refused", answers=0, connected=False)]):  # there are other blades
        assert failures([broken], list(native), []) == ([broken], 0), native


def test_a_handshake_that_breaks_may_have_been_with_any_blade() -> None:
    broken = outcome(10, 20, blade="", error="closed", answers=0)
    assert failures([broken], [outcome(15, 20, "blade2", "reset")], []) == ([], 1)
    assert failures([broken], [outcome(19, 20, error="reset", answers=0)], []) == ([], 1)  # as early
    assert failures([broken], [outcome(19, 20, error="refused", answers=0, connected=False)], []) == ([broken], 0)
    assert failures([broken], [], []) == ([broken], 0)


def test_what_a_server_had_that_was_ended_is_not_ours() -> None:
    end = ServerEnd("blade1", 18, 19.5)
    assert failures([outcome(10, 20, error="closed", answers=0)], [], [end]) == ([], 1)  # in the middle of an answer
    slow = outcome(10, 30, error="Closed: closed")  # it still read what had been sent before
    assert failures([slow], [], [end]) == ([], 1)
    slow = outcome(10, 30, error="Closed: closed", answers=0)  # the same, of its first answer
    assert failures([slow], [], [end]) == ([], 1)
    for ours in (outcome(10, 20, "blade2", "closed"), outcome(10, 20, "", "Closed: closed", answers=0),  # another blade, or none
                 outcome(18.5, 19, error="refused", answers=0, connected=False), outcome(18.5, 20, error="closed"),  # new
                 outcome(10, 30, error="TimeoutError: timed out"), outcome(10, 60, error="Closed: closed"),
                 outcome(10, 17, error="Closed: closed")):  # another time
        assert failures([ours], [], [end]) == ([ours], 0), ours


def test_who_has_no_answer_yet_may_be_with_the_blade_whose_server_ends() -> None:
    """TLS was set up, its request was on its way: FIN."""
    end = ServerEnd("blade1", 18, 19.5)
    early = outcome(17.9, 18.1, blade="", error="Closed: closed", answers=0)
    assert failures([early], [], [end]) == ([], 1)
    for other in (replace(early, begin=18.05), replace(early, end=19.6), replace(early, error="TimeoutError"),
                  replace(early, connected=False)):
        assert failures([other], [], [end]) == ([other], 0)


def test_half_a_hello_is_with_a_blade_before_an_answer_says_which() -> None:
    end = ServerEnd("blade1", 18, 19.5)
    waits = replace(outcome(17.5, 18.7, blade="", error="Closed: closed", answers=0), kind="half hello")
    assert failures([waits], [], [end]) == ([], 1)
    for other in (replace(waits, kind="download", end=20), replace(waits, begin=18.2), replace(waits, connected=False), replace(waits, end=22)):
        assert failures([other], [], [end]) == ([other], 0)
