"""A server that breaks the protocol ends or spoils its own session, never the proxy or a wait."""

import sys
from pathlib import Path

import pytest

from test_sessions import Relay

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import messages  # noqa: E402
from wire_script.hostile import ANSWERS, LOGINS, HostileServer  # noqa: E402
from wire_script.peer import Peer  # noqa: E402


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    server = HostileServer()
    url = f"postgresql://app:app-secret@127.0.0.1:{server.port}/app?sslmode=disable"
    made = Relay(url, url, tmp_path_factory.mktemp("hostile") / "relay.log")
    yield made
    made.stop()  # It still runs, and says so with exit code 0.
    server.stop()


def connect(relay, wrong):
    peer = Peer(("127.0.0.1", relay.port), ("app", "app-secret", "app"))
    peer.start(("application_name", wrong))
    return peer


def errors(peer):
    return [line for line in peer.transcript if line.startswith("E ")]


@pytest.mark.parametrize("wrong", LOGINS)
def test_a_log_in_that_goes_wrong_is_a_clear_error(wrong, relay):
    peer = connect(relay, wrong)
    assert peer.transcript[-1] == "end", peer.transcript
    (error,) = errors(peer)
    assert f"C='{LOGINS[wrong][1]}'" in error, error
    assert "V='FATAL'" in error
    peer.close()


@pytest.mark.parametrize("wrong", ANSWERS)
def test_an_answer_that_breaks_the_protocol_is_contained(wrong, relay):
    peer = connect(relay, f"answer: {wrong}")
    outcome = ANSWERS[wrong][1]
    peer.send(messages.query("SELECT 1"))
    if outcome == "ready":
        peer.ready()
        peer.send(messages.query("SELECT 2"))
        peer.ready()
        assert peer.transcript[-1].startswith("Z "), peer.transcript
    else:
        peer.end()
        assert peer.transcript[-1].startswith("end"), peer.transcript
        assert len(errors(peer)) <= 1, "one error at most, and nothing behind it"
    peer.close()


def test_the_proxy_serves_on_after_all_of_them(relay):
    peer = connect(relay, "answer: an ordinary answer")
    peer.send(messages.query("SELECT 1"))
    assert peer.ready() == ("Z", b"I")
    peer.close()
