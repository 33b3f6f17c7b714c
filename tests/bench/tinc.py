"""tinc 1.0 as it comes (AES-256-CBC, SHA-256, no compression), as a router between two hosts.

Its path MTU discovery is off: until that has finished, which takes seconds, packets travel over TCP.
"""

from subprocess import Popen

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.bench.topology import Host


def start(client: Host, server: Host) -> tuple[Popen[str], Popen[str]]:
    """The client connects to the server; each knows the other's public key and subnet."""
    hosts = (client, server)
    descriptions = {host.label: _describe(host) for host in hosts}
    for host in hosts:
        directory = host.directory / "hosts"
        directory.mkdir()
        for label, text in descriptions.items():
            (directory / label).write_text(text)
    return _start_end(client, f"ConnectTo = {server.label}\n"), _start_end(server)


def _start_end(own: Host, more: str = "") -> Popen[str]:
    settings = f"Name = {own.label}\nInterface = {own.interface}\nMode = router\nBindToAddress = {own.outer}\n"
    (own.directory / "tinc.conf").write_text(settings + more)
    pid_file = own.directory / "pid"
    process = own.start("tincd", "--no-detach", f"--config={own.directory}", f"--pidfile={pid_file}")
    own.configure_interface(process)
    return process


def _describe(host: Host) -> str:
    """Write a new private key; return what goes into everybody's ``hosts/LABEL``."""
    key = rsa.generate_private_key(65537, 2048)
    path = host.directory / "rsa_key.priv"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    return f"Address = {host.outer}\nSubnet = {host.inner}/32\nPMTUDiscovery = no\n{public}"
