"""The scripts that set a machine up: they ask for what is missing, and only for that.

The programs they call are stand-ins that write down how they were called: nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.servers import KAFKA_VERSION, kafka_jars

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("bash", "env", "dirname", "awk", "mktemp", "mkdir", "mv", "rm", "cat", "chmod")
VENV = 'mkdir -p "$3/bin"; echo "#!/usr/bin/env bash" > "$3/bin/python"; chmod +x "$3/bin/python"'
"""A python3 that makes an environment whose Python does nothing."""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH that holds a few real tools and whatever a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        path = shutil.which(name)
        assert path is not None
        (folder / name).symlink_to(path)
    stand_in(folder, "python3", VENV)
    return folder


def stand_in(tools: Path, name: str, script: str) -> None:
    path = tools / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def run(tools: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / command[0]), *command[1:]],
        env={"PATH": str(tools), "HOME": str(tools), "CALLS": str(tools.parent / "calls")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def have_kafka(tools: Path) -> None:
    stand_in(tools, "java", "exit 0")
    (tools / ".cache/flowrate" / kafka_jars().name).mkdir(parents=True)


def test_peers_that_are_all_installed_need_nothing(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "echo installed")
    stand_in(tools, "apt-get", "echo called >> $CALLS")
    stand_in(tools, "mvn", "echo called >> $CALLS")
    have_kafka(tools)
    ended = run(tools, "infra/peers/install")
    assert ended.returncode == 0, ended.stderr
    assert not (tools.parent / "calls").exists()


def test_missing_peers_are_installed_and_no_service_starts(tools: Path) -> None:
    have_kafka(tools)
    stand_in(tools, "dpkg-query", "[[ ${!#} == softflowd ]] && exit 1; echo installed")
    stand_in(tools, "apt-get", 'echo "$RUNLEVEL $DEBIAN_FRONTEND $*" >> $CALLS')
    stand_in(tools, "sudo", 'exec "$@"')
    ended = run(tools, "infra/peers/install")
    assert ended.returncode == 0, ended.stderr
    update, install = (tools.parent / "calls").read_text().splitlines()
    assert update.startswith("1 noninteractive ")
    assert update.endswith(" update")
    assert install.startswith("1 noninteractive ")
    assert install.endswith(" install --yes --no-install-recommends softflowd")


def test_a_failing_apt_fails_the_script(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "exit 1")
    stand_in(tools, "apt-get", "exit 100")
    stand_in(tools, "sudo", 'exec "$@"')
    assert run(tools, "infra/peers/install").returncode == 100


def test_without_java_and_maven_debians_are_installed(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "[[ ${!#} =~ ^(openjdk|maven) ]] && exit 1; echo installed")
    stand_in(tools, "apt-get", 'echo "$*" >> $CALLS')
    stand_in(tools, "sudo", 'exec "$@"')
    ended = run(tools, "infra/peers/install")
    install = (tools.parent / "calls").read_text().splitlines()[-1]
    assert install.endswith(" install --yes --no-install-recommends openjdk-17-jre-headless maven")
    assert ended.returncode == 127, "the stand-in of apt-get brought no mvn"


FETCHING = 'echo "$*" >> $CALLS; mkdir -p "${!##*=}"; echo jar > "${!##*=}/kafka.jar"'


def test_kafkas_jars_are_fetched_once_into_the_users_cache(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "echo installed")
    stand_in(tools, "mvn", FETCHING)
    for _ in range(2):
        assert run(tools, "infra/peers/install").returncode == 0
    (call,) = (tools.parent / "calls").read_text().splitlines()
    assert "--strict-checksums" in call
    assert "infra/peers/kafka/pom.xml" in call
    assert f"-Dkafka.version={KAFKA_VERSION} " in call
    cache = tools / ".cache/flowrate"
    assert [folder.name for folder in cache.glob("kafka*")] == [kafka_jars().name]
    assert (cache / kafka_jars().name / "kafka.jar").exists()


@pytest.mark.parametrize(("version", "is_built"), [("go1.23.9", False), ("go1.24.0", True)])
def test_goflow2_is_built_once_where_go_can(tools: Path, version: str, is_built: bool) -> None:
    stand_in(tools, "dpkg-query", "echo installed")
    have_kafka(tools)
    building = 'echo "$*" >> $CALLS; echo > "$GOBIN/goflow2"; chmod +x "$GOBIN/goflow2"'
    stand_in(tools, "go", f"[[ $1 == env ]] && echo {version} && exit; {building}")
    said = [run(tools, "infra/peers/install").stdout for _ in range(2)]
    calls = tools.parent / "calls"
    assert len(calls.read_text().splitlines() if calls.exists() else ()) == is_built
    assert all(("goflow2 is left out" in text) != is_built for text in said)
    assert len(list((tools / ".cache/flowrate").glob("goflow2-v*"))) == is_built


def test_the_package_netflow_gets_an_environment_of_its_own_once(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "echo installed")
    have_kafka(tools)
    for is_first in (True, False):
        ended = run(tools, "infra/peers/install")
        assert ended.returncode == 0, ended.stderr
        assert ("installing the package netflow" in ended.stdout) == is_first
    assert len(list((tools / ".cache/flowrate").glob("netflow-*/bin/python"))) == 1


def test_an_interrupted_fetch_leaves_nothing_that_looks_complete(tools: Path) -> None:
    stand_in(tools, "dpkg-query", "echo installed")
    stand_in(tools, "mvn", f"{FETCHING}; exit 1")
    assert run(tools, "infra/peers/install").returncode == 1
    assert list((tools / ".cache/flowrate").iterdir()) == []


def test_without_python_311_it_says_what_to_install(tools: Path, tmp_path: Path) -> None:
    stand_in(tools, "python3", "exit 1")
    ended = run(tools, "infra/peers/venv", str(tmp_path / "venv"), "requirements.lock")
    assert ended.returncode == 2
    assert "needs Python 3.11" in ended.stderr
    assert "apt-get install python3.11" in ended.stderr


def test_python3_is_taken_where_it_is_a_311_and_everything_is_checked_by_hash(
    tools: Path, tmp_path: Path
) -> None:
    stand_in(
        tools,
        "python3",
        "if [[ $1 == -c ]]; then exit 0; fi\n"
        "if [[ $1 == --version ]]; then echo Python 3.11.2; exit 0; fi\n"
        'echo "$*" >> $CALLS\n'
        f'if [[ $2 == venv ]]; then {shutil.which("mkdir")} -p "${{!#}}/bin";'
        f' {shutil.which("cp")} "$0" "${{!#}}/bin/python"; fi',
    )
    venv = tmp_path / "venv"
    ended = run(tools, "infra/peers/venv", str(venv), "requirements.lock")
    assert ended.returncode == 0, ended.stderr
    made, *installs = (tools.parent / "calls").read_text().splitlines()
    assert made == f"-m venv --clear {venv}"
    assert all("--require-hashes" in line for line in installs[:-1])
    assert "--requirement requirements.lock" in installs[-2]
    assert installs[-1].endswith("--no-deps --no-build-isolation --editable .")


def test_ci_reads_no_input_and_demands_the_peers() -> None:
    text = (ROOT / ".ci/run").read_text()
    assert "exec < /dev/null" in text
    assert "REQUIRE_PEERS=1" in text
    assert os.access(ROOT / ".ci/run", os.X_OK)
