"""What an object of one kind has that others do not: labels, attributes, parameters of its own. All of it arrives."""

import pytest

from test_ddl import alike, run

BASE = """
CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE empty AS ENUM ();
CREATE TABLE base (id int PRIMARY KEY, v text, m mood, e empty);
INSERT INTO base SELECT i, 'v' || i, 'a' FROM generate_series(1, 20) i; UPDATE base SET m = 'b' WHERE id % 3 = 0;
"""


@pytest.fixture
def pgjanus(source, target, programs):
    return programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()


@pytest.fixture
def mirrored(app, pgjanus):
    app(BASE)
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    return pgjanus


def test_labels_of_enums(source, target, sides, mirrored):
    run(mirrored, "ALTER TYPE empty ADD VALUE 'first'", "UPDATE base SET e = 'first'", "ALTER TYPE empty ADD VALUE 'zero' BEFORE 'first'")
    alike(mirrored, source, target, sides)
    # A new one takes the name of one that is renamed; one behind it takes its place by the new one's name.
    run(mirrored, "BEGIN", "ALTER TYPE mood RENAME VALUE 'a' TO 'old_a'", "ALTER TYPE mood ADD VALUE 'a' BEFORE 'b'",
        "ALTER TYPE mood ADD VALUE 'aa' AFTER 'a'", "ALTER TYPE mood RENAME TO \"Mood %s\"", "COMMIT",
        "INSERT INTO base (id, m) VALUES (30, 'a'), (31, 'aa'), (32, 'old_a')")
    alike(mirrored, source, target, sides)
    run(mirrored, "BEGIN", "ALTER TYPE \"Mood %s\" RENAME VALUE 'a' TO 'c'", "ALTER TYPE \"Mood %s\" RENAME VALUE 'b' TO 'a'",
        "ALTER TYPE \"Mood %s\" RENAME VALUE 'c' TO 'b'", "UPDATE base SET m = 'b' WHERE id = 1", "COMMIT")
    alike(mirrored, source, target, sides)
