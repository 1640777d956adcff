"""What a case is, and how it is run."""

import re
from dataclasses import dataclass
from typing import Callable

from . import messages
from .peer import Peer

CASES = []


@dataclass
class Case:
    """`play(peer)` sends and reads. `login`: the peer has logged in before. `probe`: afterwards one
    more query is run, which shows that nothing was left over. `own_error`: pgjanus answers
    with words of its own, so only severity and SQLSTATE of errors are compared. `own_place`:
    all but the server's source file and line, and the context. `explains`: pgjanus
    says why it closes a connection that the server closes without a word. `instead`: what is expected
    where the server's own answer cannot be. `bulk`: too long to be sent
    byte by byte. `refused`: so many requests for encryption come first that pgjanus refuses and a
    server might grant (GSS, which we do not have): the server is not sent them. `own_server`: only
    where a client keeps its server between transactions (session pooling) can it be the same."""

    sentence: str
    play: Callable
    login: bool = True
    probe: bool = True
    own_error: bool = False
    own_place: bool = False
    explains: bool = False
    instead: tuple = ()
    bulk: bool = False
    refused: int = 0
    own_server: bool = False

    def __str__(self):
        return self.sentence


def case(sentence, **options):
    def register(play):
        CASES.append(Case(sentence, play, **options))
        return play
    return register


def run_case(one, address, login, segment=None, direct=False):
    """The transcript of a case at `address`; `login` is (user, password, database). `direct`: the
    server itself stands there."""
    if one.instead and direct:
        return list(one.instead)
    peer = Peer(address, login, segment)
    try:
        if one.login:
            peer.start()
        if one.refused and direct:
            peer.transcript += ["byte N"] * one.refused
            peer.start()
        else:
            one.play(peer)
        if one.probe:
            peer.send(messages.query("SELECT 'nothing was left over'"))
            peer.ready()
    finally:
        peer.close()
    if one.explains and not direct:
        return [line for line in peer.transcript if not line.startswith("E S='FATAL' V='FATAL' C='08P01'")]
    if one.own_place:
        return [re.sub(r"^(E .*?)( W='[^']*')? F='[^']*' L='\d+' R='\w+'", r"\1", line) for line in peer.transcript]
    if one.own_error:
        return [re.sub(r"^E S='(\w+)'.*? C='(\w+)'.*", r"E \1 \2", line) for line in peer.transcript]
    return peer.transcript
