"""Every limit of the protocol on one screen (WireGuard paper, section 6, and the kernel's ``messages.h``).

Times are in seconds, counts are messages unless they say otherwise.
"""

REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0
REKEY_ATTEMPT_TIME = 90.0
REKEY_TIMEOUT = 5.0
REKEY_TIMEOUT_JITTER = 0.334
KEEPALIVE_TIMEOUT = 10.0
ZERO_KEYS_AFTER_TIME = 3 * REJECT_AFTER_TIME
MAX_HANDSHAKE_ATTEMPTS = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)

INITIATIONS_PER_SECOND = 50
"""From one peer: more than these are a flood, even if each is authentic."""

MAX_STAGED_PACKETS = 128
"""Per peer, waiting for a keypair; the oldest goes first."""

MAX_QUEUED_HANDSHAKES = 4096
"""Handshake messages with a right MAC1 that wait for a turn; beyond them they are dropped."""

UNDER_LOAD_QUEUED_HANDSHAKES = MAX_QUEUED_HANDSHAKES // 8
UNDER_LOAD_HANDSHAKES_PER_SECOND = 500
UNDER_LOAD_LASTS = 1.0
"""Under load by queue length or by rate, and for this long after it."""

HANDSHAKE_BUDGET = 16
"""Handshake messages consumed in one `Device.expire`, so that they never starve the data path."""

HELLO_ATTEMPTS = 5
HELLO_INTERVAL = 1.0
"""A hello that is not answered is said again with what comes next, so often and not sooner."""

PERSISTENT_KEEPALIVE_STEP = 0.5
"""Persistent keepalives are sent at multiples of this. To wake up once for twenty of them costs a quarter."""
