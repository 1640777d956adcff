"""Every test that tests/wire_script/CHECKLIST.md names is there."""

import re
import sys
from pathlib import Path

from harness.program import ROOT

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import CASES  # noqa: E402
from wire_script.moving import MOVES  # noqa: E402

CHECKLIST = ROOT / "tests" / "wire_script" / "CHECKLIST.md"


def test_what_the_checklist_names_is_there():
    points = [line for line in CHECKLIST.read_text().splitlines() if line.startswith("- ")]
    readme = " ".join((ROOT / "README.md").read_text().split())
    units = "\n".join(path.read_text() for path in (ROOT / "tests" / "unit").rglob("*.cpp"))
    functions = {path.stem: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}
    sentences = {str(one) for one in (*CASES, *MOVES)}
    missing, named = [], 0
    for point in points:
        found = 0
        for kind, sentence, file, name in re.findall(r'(?:(README|unit): )?"([^"]+)"|`(test_\w+)::(test_\w+)`', point):
            found += 1
            if kind == "README":
                there = sentence in readme
            elif kind == "unit":
                there = f'"{sentence}"' in units
            elif sentence:
                there = sentence in sentences
            else:
                there = f"def {name}(" in functions.get(file, "")
            if not there:
                missing.append(f"{sentence or file + '::' + name}")
        named += found
        if not found:
            missing.append(f"no test at all: {point}")
    assert not missing, "\n".join(missing)
    assert len(points) > 60 and named > 150
