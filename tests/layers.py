#!/usr/bin/env python3
"""Checks that the tree keeps its layers, and says each breach in one sentence.

The arrows are proxy -> router -> wire and proxy -> metrics. wire and router hold no sockets, clocks
or logs, so that they can be tested with bytes alone; this check is what keeps it so.

Usage: layers.py [ROOT]. It first plants each breach in a scratch tree and looks whether it is found,
then reads ROOT (this repository when left out). Exit code 1 when there is a breach.
"""

import pathlib
import re
import sys
import tempfile

FOLDERS = ("proxy", "wire", "router", "metrics", "deploy", "tests")
CODE = (".cpp", ".hpp", ".h")
LINES_MAX = 400

# What a layer may include, as patterns over the whole name. Standard headers have no dot and no
# slash; those that bring threads, files or streams do not belong into a codec or a state machine.
STANDARD = (r"(?!thread$|jthread$|mutex$|shared_mutex$|condition_variable$|future$|fstream$|iostream$"
            r"|filesystem$|random$|stop_token$)[a-z_0-9]+")
MAY_INCLUDE = {
    "wire": (STANDARD, r"wire/.*", r"boost/(system|endian)/.*",
             r"openssl/(crypto|err|evp|hmac|md5|rand|sha)\.h"),
    "router": (STANDARD, r"wire/.*", r"router/.*", r"boost/(system|endian)/.*",
               r"pg_query(\.pb-c)?\.h", r"pg_query/.*"),
}
MAY_NOT_INCLUDE = {
    "metrics": ((r"(wire|router|proxy)/.*", "metrics knows nothing of ours"),),
}

# Sleeping tests are slow when they pass and flaky when they fail. Where waiting is the subject:
SLEEP_ALLOWED = (
    "tests/integration/harness/wait.py",  # The one loop that all conditions are polled by.
    "tests/bench/",  # A load runs for a while; nothing is judged by it.
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
CLOCK = re.compile(r"\b(steady_clock|system_clock|high_resolution_clock|utc_clock|clock_gettime"
                   r"|gettimeofday)\b")
DETACHED = re.compile(r"\bdetached\b")
# A lambda that captures and returns an awaitable: the frame outlives the closure it reads from.
CAPTURING_COROUTINE = re.compile(
    r"\[[^\[\]]+\]\s*(\([^{};]*\))?\s*(mutable|noexcept|\s)*->\s*(boost::)?(asio::)?awaitable\b")
# GCC 12 destroys the temporaries of both arms of a conditional inside an awaited expression.
CONDITIONAL_AWAIT = re.compile(r"\bco_await\b[^;{}?]*\?")
# ... and may resume a condition's temporaries twice.
CONDITION = re.compile(r"\b(if|while|switch)\s*\(")
CPP_SLEEP = re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(")
PYTHON_SLEEP = re.compile(r"\b(sleep)\s*\(")


def without_comments(text):
    """C++ text with comments and literals blanked; line breaks stay, so that line numbers do."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def python_without_comments(text):
    """Python text with comments and one-line literals blanked."""
    pattern = re.compile(r'#[^\n]*|"""(?:.*?)"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def in_parentheses(code, begin):
    """From behind an opening parenthesis to its closing one."""
    depth, at = 1, begin
    while depth and at < len(code):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        at += 1
    return code[begin:at]


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def include_breaches(name, text):
    folder = name.split("/")[0]
    for match in INCLUDE.finditer(text):
        where = f"{name}:{line_of(text, match.start())}"
        header = match.group(2)
        allowed = MAY_INCLUDE.get(folder)
        if allowed and not any(re.fullmatch(pattern, header) for pattern in allowed):
            yield f"{where} includes {header}, which {folder} may not use (design, section 11)."
        for pattern, why in MAY_NOT_INCLUDE.get(folder, ()):
            if re.fullmatch(pattern, header):
                yield f"{where} includes {header}, but {why}."
        if folder != "tests" and re.match(r"(\.\./)*tests/", header):
            yield f"{where} includes {header}: nothing may depend on the tests."
        if header.startswith(("libpq-fe.h", "libpq/", "postgresql/")) and not name.startswith("proxy/pg/"):
            yield f"{where} includes {header}: libpq stays behind proxy/pg."


def code_breaches(name, text):
    yield from include_breaches(name, text)
    code = without_comments(text)
    if name.split("/")[0] in ("wire", "router"):
        for match in CLOCK.finditer(code):
            yield (f"{name}:{line_of(code, match.start())} reads a clock ({match.group()}): time enters "
                   "wire and router as an argument.")
    for match in DETACHED.finditer(code):
        yield (f"{name}:{line_of(code, match.start())} spawns with `detached`: every co_spawn has a "
               "handler that logs.")
    for match in CAPTURING_COROUTINE.finditer(code):
        yield (f"{name}:{line_of(code, match.start())} has a coroutine that is a capturing lambda: its "
               "captures die with the closure, so use a member or a free function.")
    awaits = [(match.start(), "with a conditional in its expression")
              for match in CONDITIONAL_AWAIT.finditer(code)]
    awaits += [(match.start(), "inside a condition") for match in CONDITION.finditer(code)
               if "co_await" in in_parentheses(code, match.end())]
    for at, where in awaits:
        yield (f"{name}:{line_of(code, at)} awaits {where}: GCC 12 miscompiles that, so co_await stands "
               "alone or initialises one named variable.")


def sleep_breaches(name, text):
    if not name.startswith("tests/") or name.startswith(SLEEP_ALLOWED):
        return
    python = name.endswith(".py")
    code = python_without_comments(text) if python else without_comments(text)
    for match in (PYTHON_SLEEP if python else CPP_SLEEP).finditer(code):
        yield (f"{name}:{line_of(code, match.start())} sleeps: a test waits for a condition "
               "(harness/wait.py), never for time.")


def sources(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in CODE + (".py",) and path.is_file():
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def breaches(root):
    """All breaches in the tree under `root`, a sentence each."""
    found = []
    parser_users = []
    for name, text in sources(root):
        if name != "tests/layers.py":
            found += sleep_breaches(name, text)
        if name.endswith(CODE):
            found += code_breaches(name, text)
            if "pg_query.pb-c.h" in (match.group(2) for match in INCLUDE.finditer(text)):
                parser_users.append(name)
        lines = text.count("\n")
        if lines > LINES_MAX:
            found.append(f"{name} has {lines} lines; past {LINES_MAX} a file is two things.")
    for name in parser_users:
        if len(parser_users) > 1 or not name.endswith(".cpp"):
            found.append(f"{name} includes pg_query.pb-c.h, which only one .cpp may (474 kB of header).")
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in FOLDERS + ("build",) and not path.name.startswith("."):
            found.append(f"{path.name}/ is a new folder at the top level: there are exactly "
                         f"{', '.join(FOLDERS)}.")
    return found


CLEAN = {
    "wire/a.cpp": '#include <vector>\n#include <openssl/hmac.h>\n#include "wire/a.hpp"\n// steady_clock\n',
    "router/a.cpp": '#include <chrono>\n#include "wire/a.hpp"\n#include "pg_query.pb-c.h"\n',
    "metrics/a.cpp": "#include <prometheus/registry.h>\n",
    "proxy/a.cpp": ('#include "router/a.hpp"\n#include "metrics/a.hpp"\n'
                    "// asio::detached is banned\n"
                    "auto f = [](int value) -> asio::awaitable<void> { co_return; };\n"
                    "[[nodiscard]] auto g(int) -> asio::awaitable<void>;\n"
                    "if (f(x)) co_await g();\n"
                    "auto h = [this](int x) -> bool { return x; };\n"),
    "proxy/pg/a.cpp": "#include <libpq-fe.h>\n",
    "tests/unit/a.cpp": '#include "wire/a.hpp"\nauto query = "SELECT pg_sleep(1)";\n',
    "tests/integration/harness/wait.py": "time.sleep(0.1)\n",
}
PLANTED = (
    ("wire/b.cpp", "#include <boost/asio.hpp>\n", "wire may not use"),
    ("wire/b.cpp", "#include <sys/socket.h>\n", "wire may not use"),
    ("wire/b.hpp", "#  include <spdlog/spdlog.h>\n", "wire may not use"),
    ("wire/b.cpp", '#include "router/words.hpp"\n', "wire may not use"),
    ("wire/b.cpp", "#include <thread>\n", "wire may not use"),
    ("wire/b.cpp", "#include <openssl/ssl.h>\n", "wire may not use"),
    ("wire/b.cpp", "auto now = std::chrono::steady_clock::now();\n", "reads a clock"),
    ("router/b.cpp", '#include "proxy/log.hpp"\n', "router may not use"),
    ("router/b.cpp", "#include <boost/asio/ip/tcp.hpp>\n", "router may not use"),
    ("router/b.cpp", "auto now = std::chrono::system_clock::now();\n", "reads a clock"),
    ("router/b.cpp", '#include "pg_query.pb-c.h"\n', "only one .cpp"),
    ("metrics/b.cpp", '#include "router/words.hpp"\n', "nothing of ours"),
    ("proxy/b.cpp", '#include "tests/unit/wire/support.hpp"\n', "depend on the tests"),
    ("proxy/session/b.cpp", "#include <libpq-fe.h>\n", "libpq stays behind"),
    ("proxy/b.cpp", "co_spawn(executor, run(), asio::detached);\n", "detached"),
    ("proxy/b.cpp", "auto f = [&](int x) -> asio::awaitable<void> { co_return; };\n", "capturing lambda"),
    ("proxy/b.cpp", "auto f = [=]() mutable -> awaitable<int> { co_return 1; };\n", "capturing lambda"),
    ("proxy/b.cpp", "spawn([this, x = 1]\n  (int)\n  -> boost::asio::awaitable<void> {});\n",
     "capturing lambda"),
    ("tests/unit/b.cpp", "auto f = [this] -> asio::awaitable<void> {};\n", "capturing lambda"),
    ("proxy/b.cpp", "co_await f(x ? make(1)\n  : make(2));\n", "with a conditional"),
    ("proxy/b.cpp", "if (x && co_await f()) return;\n", "inside a condition"),
    ("proxy/b.cpp", "while (!(co_await read(x)).empty()) {}\n", "inside a condition"),
    ("tests/unit/b.cpp", "std::this_thread::sleep_for(1s);\n", "sleeps"),
    ("tests/integration/test_b.py", "import time\ntime.sleep(1)\n", "sleeps"),
    ("proxy/b.cpp", "\n" * 601, "601 lines"),
    ("helpers/b.cpp", "", "new folder"),
)


def self_test():
    """Plants each breach alone in a clean tree; returns what was not found, or found for nothing."""
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, text, expected) in enumerate(((None, "", ""),) + PLANTED):
            root = pathlib.Path(scratch) / str(number)
            for clean_name, clean_text in CLEAN.items() if name is None else ((name, text), *CLEAN.items()):
                path = root / clean_name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(clean_text, encoding="utf-8")
            found = breaches(root)
            if name is None:
                failures += [f"A clean tree is said to breach: {sentence}" for sentence in found]
            elif not any(expected in sentence for sentence in found):
                failures.append(f"A breach planted in {name} was not found: {text.strip()[:70]}")
    return failures


def main():
    default = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    sentences = self_test() + breaches(root)
    for sentence in sentences:
        print(sentence)
    if not sentences:
        print(f"The layers hold; {len(PLANTED)} planted breaches were found.")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
