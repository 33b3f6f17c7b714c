"""`tunnel up --peer` as it is typed: from nothing to a ping, without a gateway, and with things in the way."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import datagram_socket, ping
from tests.netns.hosts import BIN, CABLE, PORT
from tests.netns.landscape import survey
from tests.netns.members import Member, Site, dns_name, open_site
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root


# ---- from zero ------------------------------------------------------------------------------------------------------

OWN_MACHINE = """
mount -t tmpfs none {directory}
mkdir {directory}/upper {directory}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={directory}/upper,workdir={directory}/work /etc
rm -rf /etc/tunnel
mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard
echo ready
cat
"""
"""In a mount namespace: an /etc and a folder for sockets of its own. It is there as long as it is not told to end."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A namespace that has also files of its own."""

    namespace: Namespace
    keeper: subprocess.Popen[str]

    def type(self, command: str) -> str:
        """What the command prints."""
        path = f"export PATH={BIN}:$PATH; {command}"
        target = ("-t", str(self.keeper.pid))
        return self.namespace.run("nsenter", "-m", *target, "sh", "-ec", path).stdout


def boot(namespace: Namespace, directory: Path) -> Machine:
    directory.mkdir()
    script = OWN_MACHINE.format(directory=directory)
    keeper = namespace.popen("unshare", "-m", "sh", "-ec", script)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "ready\n"
    return Machine(namespace, keeper)


def test_what_the_documentation_has_typed_comes_to_a_ping(tmp_path: Path) -> None:
    office = tmp_path / "office"
    office.mkdir()
    for command in (
        "tunnel cert ca",
        "tunnel cert issue gw --address 10.9.0.1 --transit 10.9.0.0/24 --server --dns gw.example.com",
        "tunnel cert issue laptop --address 10.9.0.2",
    ):
        subprocess.run(f"PATH={BIN}:$PATH {command}", shell=True, cwd=office, check=True, capture_output=True)
    with Namespace("zero-gw") as here, Namespace("zero-laptop") as there:
        connect(Port(here, CABLE, ("192.0.2.1/24",)), Port(there, CABLE, ("192.0.2.2/24",)))
        gateway, laptop = boot(here, tmp_path / "gw"), boot(there, tmp_path / "laptop")
        for machine, name in ((gateway, "gw"), (laptop, "laptop")):
            machine.type("mkdir /etc/tunnel; echo 192.0.2.1 gw.example.com >> /etc/hosts")
            machine.type(f"cp {office}/{name}.pem /etc/tunnel/identity.pem")
        gateway.type("tunnel up -d")
        laptop.type("tunnel up -d --peer gw.example.com")
        assert "3 received" in laptop.type("ping -c 3 -i 0.1 10.9.0.1")
        assert "peer: laptop" in gateway.type("tunnel status")
        for machine in (laptop, gateway):
            machine.type("tunnel down tunnel0")


# ---- nobody there ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("up"), "up") as site:
        site.gateway("gw", 1)
        site.client("laptop", 2)
        yield site


@pytest.fixture
def laptop(site: Site) -> Iterator[Member]:
    """Down, with an empty log."""
    laptop = site.members["laptop"]
    laptop.log_file.unlink(missing_ok=True)
    yield laptop
    laptop.tunnel("down", laptop.interface, check=False)


@pytest.mark.slow
def test_a_gateway_that_comes_up_later_is_found_by_itself(site: Site, laptop: Member) -> None:
    gateway = site.members["gw"]
    laptop.up()
    assert laptop.peers == set()
    assert laptop.status()["dialling"].startswith("gw.example.com:51820, no answer for ")
    assert "dialling:        gw.example.com:51820, no answer for" in laptop.tunnel("status", laptop.interface).stdout
    laptop.says("warning: dialling unanswered", "gw.example.com:51820")
    gateway.up()
    eventually(lambda: laptop.peers == {"gw"}, "it is connected", 8)
    ping(laptop.namespace, gateway.inner_ipv4, count=1)
    gateway.down()


@pytest.mark.slow
def test_at_the_wrong_port_nobody_answers(site: Site, laptop: Member) -> None:
    site.members["gw"].up()
    laptop.up(f"--peer={dns_name('gw')}:1234")
    laptop.says("warning: dialling unanswered", "gw.example.com:1234")
    assert laptop.status()["peers"] == []
    site.members["gw"].down()


@pytest.mark.slow
def test_a_name_that_is_not_known_yet_is_looked_up_again(site: Site, laptop: Member) -> None:
    gateway = site.members["gw"]
    gateway.up()
    laptop.names.clear()
    laptop.know({"nobody.example.com": "192.0.2.99"})
    laptop.up()
    print(laptop.says("warning: name not resolved, trying on", "name=gw.example.com:51820"))
    laptop.know({dns_name("gw"): gateway.outer_ipv4})
    eventually(lambda: laptop.peers == {"gw"}, "it is connected", 15)
    gateway.down()


def test_ctrl_c_while_it_dials_ends_it_and_leaves_nothing(laptop: Member) -> None:
    before = survey(laptop.namespace, laptop.interface)
    process = laptop.start()
    eventually(lambda: laptop.interface in laptop.namespace.links(), "the interface is there")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) in (0, 130)
    assert survey(laptop.namespace, laptop.interface) == before
    assert "Traceback" not in laptop.log


# ---- something in the way -------------------------------------------------------------------------------------------


def test_an_interface_of_that_name_is_in_the_way(laptop: Member) -> None:
    laptop.namespace.ip("link", "add", laptop.interface, "type", "bridge")
    line = laptop.refused()
    print(line)
    assert laptop.interface in line
    assert laptop.refused(*laptop.options, "-d") == line
    laptop.namespace.ip("link", "delete", laptop.interface)


def test_a_port_that_is_taken_is_in_the_way(site: Site) -> None:
    gateway = site.members["gw"]
    before = survey(gateway.namespace, gateway.interface)
    with datagram_socket(gateway.namespace, "0.0.0.0", PORT):
        line = gateway.refused("--max-peers=5")
    print(line)
    assert str(PORT) in line
    assert survey(gateway.namespace, gateway.interface) == before


@pytest.mark.slow
def test_an_address_that_is_taken_is_in_the_way(laptop: Member) -> None:
    laptop.namespace.ip("address", "add", f"{laptop.inner_ipv4}/24", "dev", CABLE)
    line = laptop.refused()
    print(line)
    assert laptop.inner_ipv4 in line
    laptop.namespace.ip("address", "delete", f"{laptop.inner_ipv4}/24", "dev", CABLE)
