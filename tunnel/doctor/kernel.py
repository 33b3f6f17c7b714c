"""What the kernel says about this host's network: links, routes, settings, counters, firewall.

It is asked as a person would ask it, with ``ip -j`` and ``nft -j`` and by reading /proc, so that everything which
doctor says can be looked up by hand. Whatever cannot be found out (no such program, no rights) is empty or None.
"""

import json
import subprocess
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from tunnel.doctor.facts import Link, Route, Way
from tunnel.doctor.firewall import Ruleset, parse_ruleset

TIMEOUT = 5.0
"""Seconds after which a program is taken to hang."""

PROC = Path("/proc")

_COUNTER_FILES = ("net/netstat", "net/snmp")
_UDP_FILES = ("net/udp", "net/udp6")
_LEGACY_FILES = (("ip", "net/ip_tables_names"), ("ip6", "net/ip6_tables_names"))


def read_links() -> dict[str, Link]:
    links = {}
    for item in _ip("-s", "address"):
        addresses = tuple(
            f"{held['local']}/{held['prefixlen']}" for held in item.get("addr_info", ()) if "local" in held
        )
        is_up = "UP" in item.get("flags", ())
        links[item["ifname"]] = Link(
            item["ifname"],
            is_up,
            item.get("mtu", 0),
            addresses,
            queue_length=item.get("txqlen", 0),
            queue_drops=item.get("stats64", {}).get("tx", {}).get("dropped", 0),
        )
    return links


def read_routes() -> tuple[Route, ...]:
    """Of the main table, for both IP versions; those that lead to no interface are left out."""
    routes = []
    for option, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for item in _ip(option, "route", "show", "table", "main"):
            if "dev" in item:
                text = everything if item["dst"] == "default" else item["dst"]
                routes.append(Route(ip_network(text), item["dev"]))
    return tuple(routes)


def find_way(address: str, fwmark: int = 0) -> Way:
    """Where a packet of this host for `address` goes, by all rules and tables."""
    mark = ("mark", str(fwmark)) if fwmark else ()
    done = _run("ip", "-j", "route", "get", address, *mark)
    if done is None:
        return Way(address, problem="the program ip is missing")
    answer = _parsed(done.stdout)
    if done.returncode or not answer:
        return Way(address, problem=_last_words(done.stderr))
    (found,), matched = answer, _ip("route", "get", "fibmatch", address, *mark)
    route = matched[0] if matched else {}
    return Way(
        address,
        interface=found.get("dev", ""),
        source=found.get("prefsrc", ""),
        gateway=found.get("gateway", ""),
        network=_network(route.get("dst", ""), address),
        table=str(route.get("table", "local" if found.get("type") == "local" else "main")),
        mtu=next((metric["mtu"] for metric in found.get("metrics", ()) if "mtu" in metric), 0),
        problem="" if found.get("type", "unicast") in ("unicast", "local") else f"an {found['type']} route",
    )


def find_rule(version: int, table: str) -> str:
    """The first rule that leads to a table, as ``32766: from all lookup main``; empty if there is none."""
    for item in _ip(f"-{version}", "rule"):
        if str(item.get("table")) == table:
            mark = f" fwmark {item['fwmark']}" if "fwmark" in item else ""
            start = "not from" if "not" in item else "from"
            return f"{item['priority']}: {start} {item.get('src', 'all')}{mark} lookup {table}"
    return ""


def read_settings(interfaces: Iterable[str]) -> dict[str, str]:
    """The sysctls that decide whether packets go on or come back."""
    names = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.src_valid_mark"]
    names += [f"net.ipv4.conf.{name}.rp_filter" for name in ("all", *interfaces) if "." not in name]
    settings = {}
    for name in names:
        try:
            settings[name] = PROC.joinpath("sys", *name.split(".")).read_text().strip()
        except OSError:
            continue
    return settings


def read_counters(proc: Path = PROC) -> dict[str, int]:
    """Counters of IP, UDP and TCP by the names of nstat(8), as ``IpInAddrErrors`` and ``Ip6InAddrErrors``."""
    counters: dict[str, int] = {}
    for file in _COUNTER_FILES:
        lines = _lines(proc / file)
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            group = names.partition(":")[0]
            counters |= {
                group + name: int(value) for name, value in zip(names.split()[1:], values.split()[1:], strict=False)
            }
    counters |= {name: int(value) for name, value in (line.split() for line in _lines(proc / "net/snmp6"))}
    return counters


def read_port_drops(port: int, proc: Path = PROC) -> int:
    """How many datagrams the sockets at this UDP port did not get: no room, or damaged (proc_net_udp(5))."""
    drops = 0
    for file in _UDP_FILES:
        for line in _lines(proc / file)[1:]:
            columns = line.split()
            if int(columns[1].rpartition(":")[2], 16) == port:
                drops += int(columns[-1])
    return drops


def read_legacy_tables(proc: Path = PROC) -> tuple[str, ...]:
    """The tables of legacy iptables that there are in this namespace, as ``ip filter``."""
    return tuple(f"{family} {table}" for family, file in _LEGACY_FILES for table in _lines(proc / file))


def read_firewall() -> Ruleset | None:
    """None if nft(8) is missing or we may not ask."""
    done = _run("nft", "-j", "list", "ruleset")
    if done is None or done.returncode:
        return None
    try:
        return parse_ruleset(done.stdout)
    except ValueError:
        return None


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = _run("ip", "-j", *arguments)
    return _parsed(done.stdout) if done is not None and not done.returncode else []


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _parsed(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return [item for item in found if item] if isinstance(found, list) else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _network(destination: str, address: str) -> str:
    if destination == "default":
        return "0.0.0.0/0" if ip_address(address).version == 4 else "::/0"
    return destination


def _last_words(text: str) -> str:
    """``RTNETLINK answers: Network is unreachable`` without its beginning."""
    lines = text.strip().splitlines()
    return lines[-1].rpartition(": ")[2].lower() if lines else "no answer"
