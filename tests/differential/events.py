"""What happens to servers and pgjanus while sessions write."""

import re

from harness import wait_until


def happen(player, event):
    """Carries out one event; what came of it, for the log."""
    return EVENTS[event["do"]](player, event)


def _flip(player, event):
    match = player.match
    match.find_primary()
    verb = "CUTOVER" if match.primary == "source" else "CUTOVER TO SOURCE"
    outcome = match.command(f"{verb} WAIT '3s' TIMEOUT '2s' {'FORCE' if event.get('force', True) else ''}")
    match.find_primary()
    # Held up by a prepared transaction, or by a mirror that is not in sync or was just started: refused or undone.
    assert outcome is None or any(word in outcome for word in ("undone", "not in sync", "not reachable", "guard")), f"{verb}: {outcome}"
    return outcome or "flipped"


def _restart(player, _event):
    player.disrupted = True
    player.match.pgjanus.restart()
    return "ok"


def _flip_killed(player, event):
    """Killed in the middle of a flip: the next one finds where it was."""
    player.disrupted = True
    match = player.match
    verb = "cutover" if match.primary == "source" else "rollback"
    running = match.pgjanus.cli_process(verb, "--force", "--wait", "1s", "--timeout", "2s")
    player.end.wait(event.get("seconds", 0.05))
    match.pgjanus.restart()
    running.communicate(timeout=30)
    return match.find_primary()


def _down(player, event, end):
    """The mirror's server ends, some transactions pass, and it is back."""
    server = player.match.servers[player.match.mirror()]
    end(server)
    player.wait_for(player.done + event.get("transactions", 3))
    server.start()
    return "ok"


def _stop_mirror(player, event):
    return _down(player, event, lambda server: server.stop(event.get("mode", "fast")))


def _kill_mirror(player, event):
    return _down(player, event, lambda server: server.kill9())


def _freeze_mirror(player, event):
    server = player.match.servers[player.match.mirror()]
    server.freeze()
    try:
        player.end.wait(event.get("seconds", 0.3))
    finally:
        server.thaw()
    return "ok"


def _kill_primary(player, _event):
    player.disrupted = True
    server = player.match.servers[player.match.primary]
    server.kill9()
    server.start()
    return "ok"


def _verify(player, _event):
    """No false alarm, whatever is written meanwhile; a mirror that is not in sync cannot be verified."""
    outcome = player.match.command("VERIFY")
    assert not re.search(r"\d difference", outcome or ""), f"verify: {outcome}\n{player.match.ask('SHOW DIFFERENCES')}"
    return outcome or "clean"


def _reload(player, event):
    """One table is loaded again while sessions write."""
    return player.match.command(f"LOAD {event['table']}") or "ok"


EVENTS = {"flip": _flip, "restart": _restart, "flip_killed": _flip_killed, "stop_mirror": _stop_mirror, "kill_mirror": _kill_mirror,
          "freeze_mirror": _freeze_mirror, "kill_primary": _kill_primary, "verify": _verify, "reload": _reload}
