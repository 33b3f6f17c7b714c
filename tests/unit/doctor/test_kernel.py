"""Files below /proc as the kernel writes them: what doctor reads in them."""

from pathlib import Path

import pytest

from tunnel.doctor import kernel

UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  370: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 112 2 0000000000000000 5
  371: 0100007F:CA6D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 113 2 0000000000000000 70
"""
UDP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
  370: 00000000000000000000000000000000:CA6C 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 114 2 0 600
"""
SNMP = """\
Ip: Forwarding DefaultTTL InAddrErrors
Ip: 1 64 3
Tcp: MaxConn InCsumErrors
Tcp: -1 4
Udp: InDatagrams RcvbufErrors InCsumErrors
Udp: 9 8 7
"""
NETSTAT = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 2\n"
SNMP6 = "Ip6InAddrErrors                 \t6\nUdp6InCsumErrors                \t5\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """In place of /proc."""
    (tmp_path / "net").mkdir()
    return tmp_path


def test_drops_are_those_of_our_port_over_both_ip_versions(proc: Path) -> None:
    (proc / "net" / "udp").write_text(UDP)
    (proc / "net" / "udp6").write_text(UDP6)
    assert kernel.read_port_drops(51820, proc) == 605


def test_a_host_without_ipv6_has_drops_too(proc: Path) -> None:
    (proc / "net" / "udp").write_text(UDP)
    assert kernel.read_port_drops(51820, proc) == 5


def test_counters_have_the_names_that_nstat_gives_them(proc: Path) -> None:
    (proc / "net" / "snmp").write_text(SNMP)
    (proc / "net" / "netstat").write_text(NETSTAT)
    (proc / "net" / "snmp6").write_text(SNMP6)
    counters = kernel.read_counters(proc)
    wanted = {"IpInAddrErrors": 3, "TcpInCsumErrors": 4, "UdpRcvbufErrors": 8, "UdpInCsumErrors": 7}
    wanted |= {"TcpExtIPReversePathFilter": 2, "Ip6InAddrErrors": 6, "Udp6InCsumErrors": 5}
    assert wanted.items() <= counters.items()


def test_tables_of_legacy_iptables_are_those_of_both_ip_versions(proc: Path) -> None:
    (proc / "net" / "ip_tables_names").write_text("nat\nfilter\n")
    (proc / "net" / "ip6_tables_names").write_text("filter\n")
    assert kernel.read_legacy_tables(proc) == ("ip nat", "ip filter", "ip6 filter")


def test_where_there_is_no_legacy_iptables_there_are_no_tables(proc: Path) -> None:
    assert kernel.read_legacy_tables(proc) == ()
