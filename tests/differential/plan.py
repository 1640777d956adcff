"""A seed becomes a plan: plain data (JSON) that says everything a run does. Replaying and shrinking
work on plans; nothing is chosen by chance once there is one.

    {"seed", "features": [...], "options": {...}, "schema": [[sql, ...], ...], "fill": [step, ...],
     "phases": [{"early": bool, "sessions": [session, ...], "events": [{"after": share, "do": name}], "flip": bool}]}
    session: {"route": "proxy" | "direct" | "superuser", "set": [sql], "transactions": [transaction]}
    transaction: {"isolation", "mode": "block" | "auto" | "two_phase", "end", "ledger": bool, "steps": [step]}
"""

import random

import extras
from definitions import Definitions
from kinds import CONTRIB, KIT, Kinds
from statements import Statements
from tables import Table, quoted

# Feature: chance of a seed to have it.
FEATURES = {
    "types": 0.7, "key_types": 0.6, "names": 0.4, "collations": 0.4, "keyless": 0.5, "index": 0.4, "deferrable": 0.4,
    "partitions": 0.45, "sub_partitions": 0.3, "reordered": 0.4, "inherits": 0.25, "unlogged": 0.15, "wide": 0.1,
    "toast": 0.25, "generated": 0.35, "identity": 0.3, "serial": 0.35, "references": 0.5, "unique": 0.4,
    "exclusion": 0.2, "no_columns": 0.1, "dropped": 0.4, "checks": 0.3,
    "savepoints": 0.6, "truncate": 0.4, "copy": 0.5, "merge": 0.4, "cte": 0.4, "do": 0.4, "cursor": 0.3, "many": 0.15,
    "two_phase": 0.3, "settings": 0.4, "extensions": 0.3, "presets": 0.3, "owners": 0.2,
    **extras.FEATURES, "ddl": 0.35,
}
ISOLATION = ["READ COMMITTED", "READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
SETTINGS = ["SET DateStyle = 'German'", "SET TimeZone = 'Asia/Kolkata'", "SET extra_float_digits = -3",
            "SET bytea_output = 'escape'", "SET IntervalStyle = 'sql_standard'", "SET search_path = app, kit",
            "SET xmlbinary = hex", "SET array_nulls = off", "SET default_transaction_isolation = 'repeatable read'",
            "SET search_path = ''", "SET DateStyle = 'SQL, DMY'", "SET synchronous_commit = off", "SET quote_all_identifiers = on",
            "SET default_transaction_deferrable = on", "SET lc_monetary = 'C'", "SET jit = off", "SET plan_cache_mode = force_generic_plan",
            "SET standard_conforming_strings = on", "SET row_security = on", "SET transform_null_equals = on", "SET xmloption = document"]
# What a database presets, for the app and for control connections alike.
PRESETS = ["DateStyle = 'German'", "TimeZone = 'Pacific/Chatham'", "IntervalStyle = 'iso_8601'", "extra_float_digits = -5", "bytea_output = 'escape'",
           "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on", "search_path = ''",
           "search_path = app, kit, public, ext", "xmloption = document", "quote_all_identifiers = on", "array_nulls = off",
           "transform_null_equals = on", "synchronous_commit = off", "statement_timeout = '20s'", "lock_timeout = '5s'",
           "idle_in_transaction_session_timeout = '10s'", "check_function_bodies = off", "default_toast_compression = 'pglz'",
           "plan_cache_mode = force_custom_plan", "enable_seqscan = off", "enable_hashagg = off", "lc_messages = 'C'", "row_security = off",
           "client_min_messages = error", "backslash_quote = off", "standard_conforming_strings = on", "vacuum_cost_delay = 0"]
EVENTS = {"flip": 3, "restart": 1.5, "flip_killed": 1, "stop_mirror": 0.6, "freeze_mirror": 1, "kill_mirror": 0.6, "verify": 1.5, "kill_primary": 0.3, "reload": 0.5}


class Planner:
    def __init__(self, seed, *, only=None, without=(), role=None):
        self.seed = seed
        self.chooser = chooser = random.Random(f"pgjanus/{seed}")
        drawn = {name for name, chance in FEATURES.items() if chooser.random() < chance}
        self.features = (set(only) if only is not None else drawn) - set(without)
        if "superuser" in self.features:
            # Whoever writes as replica breaks what Postgres checks by triggers; the rows are then not valid.
            self.features -= {"references", "cycle", "unique", "exclusion", "deferrable"}
        self.role = role or chooser.choice(["rds", "rds", "rds", "plain"])
        extensions = [name for name in CONTRIB if chooser.random() < 0.5] if "extensions" in self.features else []
        self.home = chooser.choice(["ext", "public"])
        self.extensions = extensions + (["btree_gist"] if chooser.random() < 0.3 and extensions else [])
        self.kinds = Kinds(extensions, self.home)

    def plan(self):
        chooser = self.chooser
        preface = [*KIT, 'CREATE SCHEMA app', 'CREATE SCHEMA "Odd Schema"',
                   "CREATE TABLE public.ledger (session int, number int, PRIMARY KEY (session, number))"]
        if self.extensions:
            preface += (["CREATE SCHEMA ext"] if self.home == "ext" else []) + [
                f"CREATE EXTENSION {name} SCHEMA {self.home}" for name in self.extensions]
        schema, tables = [preface], []
        for number in range(chooser.randrange(2, 7)):
            tables.append(Table(number, chooser, self.kinds, self.features, tables))
            schema.append(tables[-1].sql)
        schema += [[statement] for table in tables for statement in table.after]
        units, special = extras.make(chooser, tables, self.features, self.kinds)
        schema += units
        if "owners" in self.features:
            schema += [self._given_away(table) for table in tables if chooser.random() < 0.5]
        self.statements = Statements(chooser, tables, self.features, special)
        self.definitions = Definitions(chooser, tables) if "ddl" in self.features and any(table.columns for table in tables) else None
        fill = [self.statements._insert(table) for table in tables for _ in range(chooser.randrange(1, 8))]
        sessions = 0
        phases = []
        for number in range(chooser.choice([1, 2, 2, 3])):
            phases.append(self._phase(number, sessions))
            sessions += len(phases[-1]["sessions"])
        for phase in phases:
            for event in phase["events"]:
                if event["do"] == "flip_killed":
                    event["seconds"] = round(chooser.random() * 0.4, 3)
                if event["do"] == "reload":
                    table = chooser.choice(tables)
                    event["table"] = table.name
        return {"seed": self.seed, "features": sorted(self.features),
                "options": {"target": self.role, "acknowledge": chooser.choice(["both", "both", "primary"]),
                            "pool": chooser.choice(["session", "session", "transaction"]),
                            "grants": bool({"row_security", "owners"} & self.features),
                            "reads": chooser.choice(["primary", "primary", "mirror", "target", "50%"]),
                            "presets": chooser.sample(PRESETS, 3) if "presets" in self.features else [],
                            "collate": chooser.choice(["C.UTF-8", "C.UTF-8", "C"]),
                            "killed": {verb: round(chooser.random(), 3) for verb in ("prepare", "load") if chooser.random() < 0.12},
                            "finish": chooser.random() < 0.3},
                "schema": schema, "fill": fill, "phases": phases}

    @staticmethod
    def _given_away(table):
        """Owned by a role of which ours is a member."""
        return [f"GRANT USAGE, CREATE ON SCHEMA {quoted(table.schema)} TO tenant", "GRANT USAGE ON SCHEMA kit, app, \"Odd Schema\" TO tenant",
                *(f"ALTER TABLE {relation} OWNER TO tenant" for relation in [table.name, *dict.fromkeys(table.relations[1:])])]

    def _phase(self, number, first):
        chooser = self.chooser
        routes = ["proxy", "proxy", "proxy", "direct"] + (["superuser"] if "superuser" in self.features else [])
        sessions = [self._session(first + i, chooser.choice(routes)) for i in range(chooser.choice([1, 2, 3, 4, 5]))]
        events = [{"after": round(chooser.random(), 2), "do": chooser.choices(list(EVENTS), list(EVENTS.values()))[0]}
                  for _ in range(chooser.choice([0, 1, 1, 2, 3]))]
        early = number == 0 and chooser.random() < 0.4
        return {"early": early, "sessions": sessions,
                "events": sorted(events, key=lambda event: event["after"]), "flip": chooser.random() < 0.8}

    def _session(self, number, route):
        chooser = self.chooser
        settings = chooser.sample(SETTINGS, chooser.randrange(1, 4)) if "settings" in self.features and chooser.random() < 0.5 else []
        if route == "superuser" and chooser.random() < 0.7:
            settings.append("SET session_replication_role = replica")
        return {"number": number, "route": route, "set": settings, "prepare": chooser.random() < 0.3,
                "transactions": [self._transaction(i, route) for i in range(chooser.choice([4, 8, 15, 25]))]}

    def _transaction(self, number, route):
        chooser = self.chooser
        if self.definitions and route != "superuser" and chooser.random() < 0.35:
            return self._defining(number)
        mode = "block" if chooser.random() < 0.75 else "auto"
        if mode == "block" and "two_phase" in self.features and chooser.random() < 0.15:
            mode = "two_phase"
        steps = [self.statements.step() for _ in range(1 if mode == "auto" else chooser.randrange(1, 6))]
        alone = [step for step in steps if isinstance(step, dict) and "alone" in step]
        if alone:
            mode, steps = "auto", alone[:1]
        elif mode == "auto" and isinstance(steps[0], dict) and "copy" not in steps[0]:
            mode = "block"
        if mode != "auto" and "deferrable" in self.features and chooser.random() < 0.2:
            steps.insert(0, chooser.choice(["SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS ALL IMMEDIATE"]))
        return {"number": number, "isolation": chooser.choice(ISOLATION), "mode": mode,
                "end": "commit" if chooser.random() < 0.88 else "rollback",
                "ledger": mode != "auto" and chooser.random() < 0.6, "steps": steps}

    def _defining(self, number):
        chooser = self.chooser
        if chooser.random() < 0.2:
            return {"number": number, "isolation": "READ COMMITTED", "mode": "auto", "end": "commit", "ledger": False, "steps": [self.definitions.alone()]}
        steps = self.definitions.steps()
        if chooser.random() < 0.3:
            steps.insert(chooser.randrange(len(steps) + 1), self.statements.step())
        steps = [step for step in steps if not (isinstance(step, dict) and "alone" in step)]
        if "savepoints" in self.features and len(steps) > 1 and chooser.random() < 0.3:
            cut = chooser.randrange(1, len(steps))
            steps = [*steps[:cut], {"savepoint": steps[cut:], "end": chooser.choice(["release", "rollback"])}]
        return {"number": number, "isolation": chooser.choice(ISOLATION), "mode": "block", "end": "commit" if chooser.random() < 0.85 else "rollback",
                "ledger": chooser.random() < 0.6, "steps": steps}
