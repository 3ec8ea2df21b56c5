"""Ids that grow, and ids that repeat."""

import os
import threading
import time
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from eskit.domain.ids import derived_id, new_id


def test_new_ids_are_version_7_of_now():
    before = time.time_ns() // 1_000_000

    made = UUID(new_id())

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 10


def test_new_ids_grow_also_within_one_millisecond():
    ids = [new_id() for _ in range(20_000)]

    assert ids == sorted(set(ids))


def test_new_ids_grow_when_the_clock_is_set_back(monkeypatch):
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)

    assert new_id() > first


def test_more_ids_than_a_millisecond_numbers_borrow_from_the_next(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 0)

    made = [UUID(new_id()) for _ in range(5_000)]

    assert {an_id.version for an_id in made} == {7}
    assert made == sorted(set(made))
    assert (made[-1].int >> 80) - (made[0].int >> 80) in (1, 2)


def test_threads_never_get_the_same_id():
    made = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda ids=ids: ids.extend(new_id() for _ in range(2000)))
        for ids in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert all(ids == sorted(ids) for ids in made)
    assert len({an_id for ids in made for an_id in ids}) == 8000


def test_a_forked_process_never_repeats_the_random_end_of_an_id():
    new_id()  # some are drawn in advance
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writer, "w") as pipe:
            pipe.write("\n".join(new_id() for _ in range(300)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)

    ends = {an_id[19:] for an_id in [*theirs, *(new_id() for _ in range(300))]}
    assert len(theirs) == 300
    assert len(ends) == 600


def test_derived_ids_repeat_for_the_same_parts():
    assert derived_id("a", "b") == derived_id("a", "b")
    assert derived_id("a", "b") != derived_id("ab")
    assert derived_id("a", "b") != derived_id("b", "a")
    assert UUID(derived_id("a")).version == 5


PARTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\x1f")), min_size=1, max_size=3
)


@given(PARTS)
def test_derived_ids_are_what_the_uuid_module_makes_of_their_parts(parts):
    namespace = UUID("6f1c2d1e-5f0a-5b1c-9d53-0f5a5c1e8a77")

    assert derived_id(*parts) == str(uuid5(namespace, "\x1f".join(parts)))


@given(PARTS, PARTS)
def test_derived_ids_differ_when_any_part_differs(one, other):
    assert (derived_id(*one) == derived_id(*other)) == (one == other)
