"""The exporter: what it tells, under which names, and to whom."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.invoking import REPOSITORY, error_of, invoke
from tunnel.cli.metrics import SCRAPERS, Exporter, Server, listening
from tunnel.cli.status import ask
from tunnel.control.metrics import Metrics
from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.errors import ConfigError

NOW = 1_700_000_000.0
GATEWAY = PeerStatus(
    "gw=",
    last_handshake=NOW - 12,
    rx_bytes=2**40 + 1,
    tx_bytes=7,
    drops={"replayed": 2},
    name='g"w',
    certificate_expires=NOW + 1,
    path_mtu=1480,
)
STATUS = InterfaceStatus(
    "wg0",
    "ours=",
    51820,
    0,
    peers=(GATEWAY, PeerStatus("quiet="), PeerStatus("gone=", last_handshake=NOW - 180)),
    drops={"wrong_mac1": 5},
    identity="laptop",
    certificate_expires=NOW + 2,
    dialling="gw, no answer for 12 s",
    refusals={"revoked": 3},
)
PEER = {"interface": "wg0", "public_key": "gw=", "name": 'g"w'}


class _Fixed:
    """A collector of these statuses."""

    def __init__(self, *statuses: InterfaceStatus) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[object]:
        metrics = Metrics(NOW)
        for status in self._statuses:
            metrics.add(status)
        return iter(metrics.families())


def _samples(collector: object) -> list[Sample]:
    """As Prometheus would read them."""
    registry = CollectorRegistry()
    registry.register(collector)  # type: ignore[arg-type]
    text = generate_latest(registry).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _value(samples: list[Sample], metric: str, /, **labels: str) -> float:
    (sample,) = [one for one in samples if one.name == metric and labels.items() <= one.labels.items()]
    return sample.value


def _documented() -> dict[str, str]:
    """Metric -> type, of docs/status.md."""
    text = (REPOSITORY / "docs" / "status.md").read_text().split("\n## Metrics\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[1].strip().strip("`"): row[2].strip() for row in rows}


# ---- what is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tunnel_peer_receive_bytes_total", 2**40 + 1),
        ("tunnel_peer_transmit_bytes_total", 7),
        ("tunnel_peer_last_handshake_timestamp_seconds", NOW - 12),
        ("tunnel_peer_certificate_expiry_timestamp_seconds", NOW + 1),
        ("tunnel_peer_path_mtu_bytes", 1480),
    ],
)
def test_a_peer_has_its_numbers_under_its_key_and_name(name: str, value: float) -> None:
    assert _value(_samples(_Fixed(STATUS)), name, **PEER) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tunnel_interface_up", 1),
        ("tunnel_interface_peers", 3),
        ("tunnel_interface_connected_peers", 1),
        ("tunnel_interface_dialling", 1),
        ("tunnel_interface_certificate_expiry_timestamp_seconds", NOW + 2),
    ],
)
def test_an_interface_has_its_numbers(name: str, value: float) -> None:
    assert _value(_samples(_Fixed(STATUS)), name, interface="wg0") == value


def test_drops_and_refusals_are_counted_by_reason() -> None:
    samples = _samples(_Fixed(STATUS))
    assert _value(samples, "tunnel_interface_dropped_packets_total", reason="wrong_mac1") == 5
    assert _value(samples, "tunnel_interface_refused_certificates_total", reason="revoked") == 3
    assert _value(samples, "tunnel_peer_dropped_packets_total", reason="replayed", **PEER) == 2


def test_what_is_not_known_has_no_sample() -> None:
    names = [one.name for one in _samples(_Fixed(STATUS)) if one.labels.get("public_key") == "quiet="]
    assert names == ["tunnel_peer_receive_bytes_total", "tunnel_peer_transmit_bytes_total"]


def test_several_interfaces_share_the_families() -> None:
    samples = _samples(_Fixed(STATUS, InterfaceStatus("wg1", None, 0, 0)))
    assert _value(samples, "tunnel_interface_peers", interface="wg1") == 0


# ---- names ------------------------------------------------------------------------------------------------------


def test_every_metric_is_documented_with_its_type() -> None:
    registry = CollectorRegistry()
    registry.register(_Fixed(STATUS))  # type: ignore[arg-type]
    families = text_string_to_metric_families(generate_latest(registry).decode())
    assert {sample.name: family.type for family in families for sample in family.samples} == _documented()


def test_the_dashboard_uses_exactly_what_is_documented() -> None:
    dashboard = json.loads((REPOSITORY / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set(re.findall(r"\btunnel_\w+", " ".join(queries)))
    assert used == set(_documented())
    assert "label_values(tunnel_interface_up, interface)" in json.dumps(dashboard["templating"])


def test_legends_and_sums_use_labels_that_the_metrics_have() -> None:
    labels = {sample.name: sample.labels.keys() for sample in _samples(_Fixed(STATUS))}
    dashboard = json.loads((REPOSITORY / "docs" / "grafana.json").read_text())
    for target in (target for panel in dashboard["panels"] for target in panel["targets"]):
        (metric,) = re.findall(r"\btunnel_\w+", target["expr"])
        summed = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        used = {*re.findall(r"{{(\w+)}}", target["legendFormat"]), *re.findall(r"(\w+)=~", target["expr"])}
        assert used.union(*(names.split(", ") for names in summed)) <= labels[metric], target
        assert not summed or set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(summed[0].split(", "))


def test_counters_are_queried_as_rates_and_gauges_are_not() -> None:
    queries = re.findall(r'"expr": "(.*)"', (REPOSITORY / "docs" / "grafana.json").read_text())
    assert queries
    for query in queries:
        (name,) = re.findall(r"\btunnel_\w+", query)
        assert ("rate(" in query) == (_documented()[name] == "counter"), query


# ---- the exporter -----------------------------------------------------------------------------------------------


def test_an_interface_is_asked_for_every_scrape(tmp_path: Path) -> None:
    exporter = Exporter("wg0", tmp_path, ask)
    assert _value(_samples(exporter), "tunnel_interface_up", interface="wg0") == 0
    with fake_daemon(tmp_path):
        samples = _samples(exporter)
    assert _value(samples, "tunnel_interface_up", interface="wg0") == 1
    assert _value(samples, "tunnel_interface_dropped_packets_total", reason="replayed") == 3


def test_all_interfaces_are_those_that_are_there(tmp_path: Path) -> None:
    exporter = Exporter(None, tmp_path, ask)
    assert _samples(exporter) == []
    with fake_daemon(tmp_path):
        assert _value(_samples(exporter), "tunnel_interface_up", interface="wg0") == 1


def _get(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answer = b""
        while received := client.recv(1 << 16):
            answer += received
    return answer


@contextmanager
def _serving(path: Path) -> Iterator[Server]:
    from prometheus_client import make_wsgi_app

    registry = CollectorRegistry()
    registry.register(_Fixed(STATUS))  # type: ignore[arg-type]
    with listening(f"unix:{path}") as server:
        server.set_app(make_wsgi_app(registry))
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_scrape_over_a_unix_socket_is_answered(tmp_path: Path) -> None:
    with _serving(tmp_path / "metrics.sock"):
        head, _, body = _get(tmp_path / "metrics.sock").partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert b'tunnel_interface_up{interface="wg0"} 1.0\n' in body
    assert not (tmp_path / "metrics.sock").exists()


def test_the_socket_of_an_exporter_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with _serving(path):
        assert b" 200 " in _get(path)


def test_those_who_say_nothing_are_too_few_to_fill_memory_and_make_room_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with _serving(path):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(SCRAPERS)]
        for one in silent:
            one.connect(str(path))
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(str(path))
            another.settimeout(10)
            assert another.recv(1) == b""
        for one in silent:
            one.close()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("9586", "expected host:port"),
        ("127.0.0.1:0", "port '0' is not"),
        ("192.0.2.1:9586", "annot assign requested address"),
        ("unix:/absent/metrics.sock", "No such file or directory"),
    ],
)
def test_where_nobody_can_listen_is_said_in_one_line(where: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"--listen: .*{why}"), listening(where):
        pass


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("content")
    with pytest.raises(ConfigError, match="in use"), listening(f"unix:{file}"):
        pass
    assert file.read_text() == "content"


def test_a_name_cannot_leave_the_directory(tmp_path: Path) -> None:
    assert "is no interface name" in error_of(invoke("metrics", "../wg0", directory=tmp_path))


def test_without_the_library_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from tunnel.cli import ending; from tunnel.cli.commands import tunnel\n"
        "sys.exit(ending.run(tunnel, 'tunnel', ['metrics']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == (
        f"tunnel: prometheus-client is not installed: {sys.executable} -m pip install prometheus-client\n"
    )
