"""Nebula: an authority and two certificates by nebula-cert, the server as lighthouse, AES-256-GCM, all allowed."""

import json
from subprocess import Popen

from tests.bench.topology import MTU, Host
from tunnel.testing.namespaces import run_command

PORT = 4242


def start(client: Host, server: Host) -> tuple[Popen[str], Popen[str]]:
    """The client asks the lighthouse, which is the server itself."""
    directory = server.directory
    authority = (str(directory / "ca.crt"), str(directory / "ca.key"))
    run_command("nebula-cert", "ca", "-name", "bench", "-out-crt", authority[0], "-out-key", authority[1])
    for host in (client, server):
        signer = ("-ca-crt", authority[0], "-ca-key", authority[1])
        files = ("-out-crt", str(host.directory / "host.crt"), "-out-key", str(host.directory / "host.key"))
        run_command("nebula-cert", "sign", *signer, "-name", host.label, "-ip", f"{host.inner}/24", *files)
    return _start_end(client, server, authority[0]), _start_end(server, server, authority[0])


def _start_end(own: Host, lighthouse: Host, authority: str) -> Popen[str]:
    is_lighthouse = own is lighthouse
    anything = [{"port": "any", "proto": "any", "host": "any"}]
    configuration = {
        "pki": {"ca": authority, "cert": str(own.directory / "host.crt"), "key": str(own.directory / "host.key")},
        "static_host_map": {} if is_lighthouse else {lighthouse.inner: [f"{lighthouse.outer}:{PORT}"]},
        "lighthouse": {"am_lighthouse": is_lighthouse, "hosts": [] if is_lighthouse else [lighthouse.inner]},
        "listen": {"host": own.outer, "port": PORT},
        "cipher": "aes",
        "tun": {"dev": own.interface, "mtu": MTU},
        "firewall": {"outbound": anything, "inbound": anything},
        "logging": {"level": "warning", "format": "text"},
    }
    path = own.directory / "nebula.yml"
    path.write_text(json.dumps(configuration))  # JSON is YAML
    return own.start("nebula", "-config", str(path))
