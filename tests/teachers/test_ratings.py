"""What is said of teachers before they teach."""

from jkd.teachers.ratings import Rating, table

METRICS = {"top1": 0.7461, "top5": 0.93, "loss": 1.0}


def test_a_promise_stands_beside_what_is_found():
    good = METRICS | {"name": "good", "promised": 0.7464}
    poor = METRICS | {"name": "poor", "promised": 0.7942}
    lines = table(Rating([good, poor, METRICS | {"name": "unknown"}], METRICS, None)).splitlines()
    assert "test top-1 74.61% (74.64% promised)" in lines[1]
    assert "test top-1 74.61% (79.42% promised)" in lines[2]
    assert "promised" not in lines[3] + lines[4]
    (note,) = lines[5:]
    assert "note: poor is 4.8 points below what was promised" in note and ":mean=R/G/B" in note
