"""The agent's units: what systemd says of them, and run by systemd as PID 1."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import systemd
from documents import block, commands

from mpest.agent import install, units
from mpest.exits import CliError

ROOT = Path(__file__).parents[2]
AGENT = json.loads(block("docs/linux.md", '"secret_file"').replace("est.lan", "localhost"))
DEPLOY = json.loads(block("docs/linux.md", '"from"'))
DEPLOY["hooks"]["on_renewed"] = [
    *("sh", "-c", "echo $(id -un) $MPEST_NUMBER $RENEWED_DOMAINS >>/var/log/hook")
]
BROKER = block("docs/linux.md", "listener 8883")
# Not kept by the machine: what a unit says goes to a file.
LOG = "[Service]\nStandardOutput=append:/var/log/%p\nStandardError=append:/var/log/%p\n"
READERS = "[Service]\nSupplementaryGroups=www-data\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the units, for a program that there is."""
    if not shutil.which("systemd-analyze"):
        systemd.need()
    root = tmp_path_factory.mktemp("root")
    install.install(root, None, "/bin/true")
    return root / "etc/systemd/system"


def test_systemd_has_nothing_to_say_of_them(written: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *(f"./{name}" for name in units.UNITS)],
        cwd=written,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with (written / units.UNITS[0]).open("a") as file:
        file.write("[Service]\nNoSuchSetting=1\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", f"./{units.UNITS[0]}"],
        cwd=written,
        capture_output=True,
        text=True,
    )
    assert "NoSuchSetting" in done.stderr


@pytest.mark.parametrize("name", ["mpest-agent@.service", "mpest-agent-once@.service"])
def test_what_the_agent_may_do(written: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", written / name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_folder_of_a_user_is_told() -> None:
    for program in ("/home/me/venv/bin/mpest", "/root/mpest"):
        with pytest.raises(CliError, match="/opt/mpest"):
            install.check_program(program)
    with pytest.raises(CliError, match="from / on"):
        install.check_program("mpest")
    with pytest.raises(CliError, match="take"):
        install.check_program("/opt/my programs/mpest")


@pytest.fixture(scope="module")
def machine() -> Iterator[systemd.Machine]:
    """A machine set up as the page says, for an EST server of its own."""
    systemd.need()
    with systemd.Machine() as booted:
        booted.write("/etc/hosts", "127.0.0.1 localhost broker.lan\n")
        for command in commands(block("docs/linux.md", "pip install")):
            if "pip install" in command:
                install_by_hand(booted)
            else:
                booted.shell(command.replace("-m venv", "-m venv --without-pip"))
        for unit in ("mpest-agent@", "mpest-agent-once@", "mpest-deploy@"):
            booted.write(f"/etc/systemd/system/{unit}.service.d/log.conf", LOG)
        server = f"{sys.executable} -m mpest serve --dir /srv/ca --port 8443"
        server += " --auth basic --users /srv/users --open"
        booted.write("/etc/systemd/system/est.service", f"[Service]\nExecStart={server}\n")
        booted.write("/srv/users", "broker:a password")
        booted.write("/etc/mpest/broker.secret", "a password")
        booted.shell("\n".join(commands(block("docs/linux.md", "chmod 640"))))
        booted.write("/etc/mpest/broker.json", json.dumps(AGENT))
        booted.write("/etc/mpest/broker.deploy.json", json.dumps(DEPLOY))
        booted.write("/etc/mosquitto/conf.d/est.conf", BROKER)
        booted.run("systemctl", "link", "/lib/systemd/system/mosquitto.service")
        serve(booted)
        booted.shell("cp /srv/ca/ca.pem /etc/mpest")
        yield booted


def install_by_hand(machine: systemd.Machine) -> None:
    """What `/opt/mpest/bin/pip install mpest` does, without an index."""
    machine.shell(
        f"""
        cd /opt/mpest/lib/python3*/site-packages
        cp -r {Path(click.__file__).parent} .
        cp -r {ROOT}/host_tools/est {ROOT}/host_tools/estd {ROOT}/host_tools/mpest .
        mkdir mpest/files
        cp -r {ROOT}/boards {ROOT}/firmware mpest/files
        """
    )
    script = "#!/opt/mpest/bin/python3\nfrom mpest.__main__ import run\nrun()\n"
    machine.write("/opt/mpest/bin/mpest", script, 0o755)


def serve(machine: systemd.Machine) -> None:
    """Start the EST server, until `systemctl stop est`."""
    machine.run("systemctl", "start", "est")
    connect = "import socket; socket.create_connection(('127.0.0.1', 8443))"
    machine.wait(f'{sys.executable} -c "{connect}"', "est")


def test_from_the_first_start_to_a_broker_with_its_second_certificate(
    machine: systemd.Machine,
) -> None:
    make_folder, dry_run, start = commands(block("docs/linux.md", "--dry-run"))
    machine.shell(make_folder)
    assert "CN=broker.lan would be asked for" in machine.shell(dry_run)
    # It has started once its configuration is read, whether or not a server is there.
    machine.run("systemctl", "stop", "est")
    machine.shell(start)
    assert machine.run("systemctl", "is-active", "mpest-agent@broker") == "active\n"
    owner, _, mode = machine.run("stat", "-c", "%U %G %a", "/var/lib/mpest/broker").split()
    assert (owner, mode) == ("mpest", "711")
    serve(machine)
    status, renew = commands(block("docs/linux.md", "renew --now"))
    machine.shell(renew)
    assert "CN=broker.lan" in machine.shell(status)

    machine.wait("systemctl is-active mosquitto", "mpest-deploy@broker")
    deployed = machine.run("stat", "-L", "-c", "%U %G %a", "/etc/mosquitto/est/key.pem")
    assert deployed.split() == ["root", "mosquitto", "640"]
    assert machine.run("cat", "/var/log/hook") == "root 1 broker.lan\n"

    client = ("-h", "broker.lan", "-p", "8883", "--cafile", "/etc/mpest/ca.pem", "-t", "t")
    heard = machine.serve("stdbuf", "-oL", "mosquitto_sub", *client, "-C", "2", "-q", "1", "-d")
    assert heard.stdout
    assert any("SUBACK" in line for line in heard.stdout)
    machine.run("mosquitto_pub", *client, "-q", "1", "-m", "first")
    machine.shell(renew)
    machine.wait("grep '^root 2 broker.lan$' /var/log/hook", "mpest-deploy@broker")
    shown = "openssl s_client -connect broker.lan:8883 -CAfile /etc/mpest/ca.pem </dev/null 2>&1"
    machine.wait(
        f'test "$({shown} | openssl x509 -noout -serial)" ='
        ' "$(openssl x509 -noout -serial -in /var/lib/mpest/broker/live/cert.pem)"'
    )
    machine.run("mosquitto_pub", *client, "-q", "1", "-m", "second")
    lines = [line for line in heard.stdout if line.strip() in ("first", "second")]
    assert lines == ["first\n", "second\n"]


def test_a_crash_is_no_end(machine: systemd.Machine) -> None:
    machine.run("systemctl", "start", "mpest-agent@broker")
    pid = machine.run("systemctl", "show", "-p", "MainPID", "--value", "mpest-agent@broker")
    # What wakes it may be had in the unit.
    machine.wait(f"ls -l /proc/{pid.strip()}/fd | grep timerfd", "mpest-agent@broker")
    machine.run("systemctl", "reload", "mpest-agent@broker")
    machine.wait("grep SIGHUP /var/log/mpest-agent", "mpest-agent@broker")
    machine.run("systemctl", "kill", "-s", "KILL", "mpest-agent@broker")
    machine.wait("systemctl show -p SubState mpest-agent@broker | grep auto-restart")


def test_a_wrong_configuration_waits_for_a_person(machine: systemd.Machine) -> None:
    machine.write("/etc/mpest/wrong.json", json.dumps(AGENT | {"subject": None}))
    machine.run("systemctl", "start", "mpest-agent@wrong", code=1)
    shown = machine.run(
        "systemctl", "show", "-p", "ActiveState,ExecMainStatus", "mpest-agent@wrong"
    )
    assert set(shown.split()) == {"ActiveState=failed", "ExecMainStatus=2"}
    machine.write("/etc/mpest/wrong.deploy.json", json.dumps(DEPLOY), 0o666)
    machine.run("systemctl", "start", "mpest-deploy@wrong", code=1)
    assert "chmod go-w" in machine.run("cat", "/var/log/mpest-deploy")


def test_once_by_a_timer_for_a_group_of_readers(machine: systemd.Machine) -> None:
    folder = "/var/lib/mpest/other/live"
    other = AGENT | {"export": {"folder": folder, "group": "www-data"}, "hooks": {}}
    machine.write("/etc/mpest/other.json", json.dumps(other))
    machine.write("/etc/systemd/system/mpest-agent-once@other.service.d/group.conf", READERS)
    for _ in range(2):  # nothing is due the second time
        machine.run("systemctl", "start", "mpest-agent-once@other")
    exported = machine.run("stat", "-L", "-c", "%U %G %a", f"{folder}/key.pem")
    assert exported.split() == ["mpest", "www-data", "640"]
    machine.run("runuser", "-u", "www-data", "--", "cat", f"{folder}/key.pem")
    machine.run("runuser", "-u", "nobody", "--", "cat", f"{folder}/key.pem", code=1)
    machine.run("systemctl", "start", "mpest-agent@other.timer")
    timers = machine.run("systemctl", "list-timers", "--no-pager")
    assert "mpest-agent-once@other.service" in timers
