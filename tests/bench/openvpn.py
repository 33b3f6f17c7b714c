"""OpenVPN 2.6 over UDP: two peers in TLS mode, AES-256-GCM, each pinning the other's self-signed certificate.

Nothing is left to negotiate and nothing is compressed. The kernel module (DCO) is off: programs in userspace are what
is compared here.
"""

from datetime import UTC, datetime, timedelta
from subprocess import Popen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.topology import MTU, Host

PORT = "1194"
CIPHER = ("--cipher", "AES-256-GCM", "--data-ciphers", "AES-256-GCM", "--disable-dco", "--allow-compression", "no")


def start(client: Host, server: Host) -> tuple[Popen[str], Popen[str]]:
    """The server waits, the client calls it."""
    client_print, server_print = _issue(client), _issue(server)
    return (
        _start_end(client, server, server_print, "--tls-client", "--remote", server.outer),
        _start_end(server, client, client_print, "--tls-server", "--dh", "none"),
    )


def _start_end(own: Host, other: Host, other_print: str, *role: str) -> Popen[str]:
    identity = ("--cert", str(own.directory / "cert.pem"), "--key", str(own.directory / "key.pem"))
    outside = ("--proto", "udp4", "--local", own.outer, "--port", PORT)
    inside = ("--dev", own.interface, "--dev-type", "tun", "--tun-mtu", str(MTU), "--ifconfig", own.inner, other.inner)
    return own.start(
        "openvpn", *role, *outside, *inside, *CIPHER, *identity, "--peer-fingerprint", other_print, "--verb", "3"
    )


def _issue(host: Host) -> str:
    """Write a key and a certificate that it signed itself, good for a day; return the fingerprint, as AA:BB:…"""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host.label)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = host.directory / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(private)
    (host.directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()
