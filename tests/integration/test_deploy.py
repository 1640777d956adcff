"""What stands in deploy/ can at least be read by what will read it."""

import subprocess

import pytest
import yaml

from harness.program import ROOT

DEPLOY = ROOT / "deploy"


def test_the_yaml_files_are_yaml_and_name_what_exists():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"source", "target", "pgjanus"}
    build = compose["services"]["pgjanus"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "sidecar.yaml").read_text()))
    pod = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in sidecar["volumeMounts"]} <= volumes


@pytest.mark.parametrize("script", ["demo", "setup", "healthcheck", "../tests/run",
                                    "../tests/bench/run", "../.ci/run"])
def test_the_scripts_parse(script):
    subprocess.run(["bash", "-n", str(DEPLOY / script)], check=True)


def test_the_example_settings_are_taken_and_the_health_check_answers(programs, source, target):
    program = programs(source.owner_url, target.owner_url,
                       arguments=["--config", str(DEPLOY / "pgjanus.toml")]).start()
    for path in ([], ["/readyz"]):
        subprocess.run([str(DEPLOY / "healthcheck"), *path], check=True,
                       env={**program.client_environment(), "PATH": "/usr/bin:/bin"})
    missing = subprocess.run([str(DEPLOY / "healthcheck"), "/nothing-here"], check=False,
                             env={**program.client_environment(), "PATH": "/usr/bin:/bin"})
    assert missing.returncode != 0
    program.term()
    dead = subprocess.run([str(DEPLOY / "healthcheck")], check=False, stderr=subprocess.DEVNULL,
                          env={**program.client_environment(), "PATH": "/usr/bin:/bin"})
    assert dead.returncode != 0


def test_the_setup_finds_nothing_missing_here():
    done = subprocess.run([str(DEPLOY / "setup"), "build", "run", "test"], capture_output=True,
                          text=True, check=True)
    assert "installing" not in done.stderr
