"""What this host loses or damages on its own: buffers that overflow, checksums that are wrong, packets it refuses.

    network ─▶ checksum ─▶ socket buffer ─▶ us ─▶ TUN ─▶ apps          apps ─▶ queue of the TUN ─▶ us ─▶ network

All but the size of a buffer is judged by what a counter has grown by while we looked.
"""

import shlex

from tunnel.config.model import Offload
from tunnel.doctor.facts import Facts
from tunnel.doctor.finding import Finding, advice, fault
from tunnel.tun.attach import QUEUE_LENGTH
from tunnel.udp.binding import BUFFER_REQUEST


def buffer_overflows(facts: Facts) -> Finding | None:
    """Datagrams came faster than the process took them. A larger buffer helps against bursts, not for ever."""
    status, count = facts.status, min(facts.port_drops, _counted(facts, "UdpRcvbufErrors", "Udp6RcvbufErrors"))
    if status is None or count <= 0:
        return None
    why = f"{count} just now found no room in the receive buffer of port {status.listen_port}"
    if status.receive_buffer is not None and status.receive_buffer < BUFFER_REQUEST:
        return fault("datagrams are lost on this host", f"{why}, which {_is_small(facts)}", _enlarge(facts))
    return fault("datagrams are lost on this host", f"{why}: the process gets too little CPU", f"top -p {status.pid}")


def buffer_small(facts: Facts) -> Finding | None:
    """Nothing is lost yet. 0 bytes are those of an interface that is down, None those of another implementation."""
    status = facts.status
    if status is None or not status.receive_buffer or status.receive_buffer >= BUFFER_REQUEST:
        return None
    return advice("the receive buffer is small, bursts may be lost", f"it {_is_small(facts)}", _enlarge(facts))


def queue_overflows(facts: Facts) -> Finding | None:
    """Programs of this host send faster than the tunnel: with a queue of the usual length they have to be slower."""
    count, link = facts.queue_drops, facts.link
    if count <= 0 or link is None or not link.is_up:
        return None
    why = f"{count} packets just now found no room in the queue of {facts.name}, which holds {link.queue_length}"
    remedy = f"ip link set {facts.name} txqueuelen {max(QUEUE_LENGTH, 4 * link.queue_length)}"
    if link.queue_length < QUEUE_LENGTH:
        return fault("packets are lost before they enter the tunnel", why, remedy)
    return advice("programs send faster than the tunnel takes it", why, remedy)


def datagrams_damaged(facts: Facts) -> Finding | None:
    """By a wrong UDP checksum, which the kernel sees, or behind a right one, which the seal shows."""
    what = "datagrams arrive damaged"
    count = min(facts.port_drops, _counted(facts, "UdpInCsumErrors", "Udp6InCsumErrors"))
    if count > 0:
        why = f"{count} for our port had a wrong UDP checksum just now: a network card or its offloads, here or there"
        return fault(what, why, _switch_off(facts))
    count = facts.new_drops("tag_failed")
    if count > 0:
        why = f"{count} did not authenticate just now: an offload, here or there, or something on the way changes them"
        return fault(what, why, _switch_off(facts))
    return None


def segments_damaged(facts: Facts) -> Finding | None:
    """The kernel does not tell which interface they came from, so it is ours only if nothing came in by others."""
    count = _counted(facts, "TcpInCsumErrors")
    if count <= 0:
        return None
    why = f"this host had {count} TCP segments with a wrong checksum just now; if they came by {facts.name}, it is"
    return advice("TCP segments arrive damaged", f"{why} an offload, here or there", _switch_off(facts))


def packets_refused(facts: Facts) -> Finding | None:
    """What we write into the TUN while it is up; without offloads that is whole packets, which it always takes."""
    count = facts.new_drops("tun_refused")
    if count <= 0 or facts.link is None or not facts.link.is_up:
        return None
    why = f"{count} packets out of the tunnel just now: it does not do the offloads that it offers"
    return fault("the kernel refuses what we hand it", why, _switch_off(facts))


def _counted(facts: Facts, *names: str) -> int:
    return sum(facts.counted.get(name, 0) for name in names)


def _is_small(facts: Facts) -> str:
    granted = facts.status.receive_buffer if facts.status else None
    return f"has {granted} bytes of the {BUFFER_REQUEST} that were asked for (net.core.rmem_max)"


def _enlarge(facts: Facts) -> str:
    """A setting of the whole machine, not of a network namespace; sockets are made when the link comes up."""
    mend = f"sysctl -w net.core.rmem_max={BUFFER_REQUEST} net.core.wmem_max={BUFFER_REQUEST}"
    return f"{mend} && {facts.restart}"


def _switch_off(facts: Facts) -> str:
    """Write ``Offload = off`` into the file, and start anew; if it is off here, it is the other end's turn."""
    config, path = facts.config.config, facts.config.path
    if config is not None and config.interface.offload is Offload.OFF:
        return "tunnel doctor  # there: try Offload = off"
    if path is None:
        return f"tunnel-wg --offload off {facts.name}  # in place of what runs, and at the other end"
    edit = f"sed -i -e '/^ *Offload/Id' -e '/^ *\\[Interface\\]/Ia Offload = off' {shlex.quote(str(path))}"
    return f"{edit} && {facts.restart}  # and at the other end"
