"""What both gateways must say alike of a frame: "Join digest" of FORMAT.md.

Messages here have their enumerations by number, as wire.decode gives them.
"""

import hashlib

INGRESS, DENY, DONE = 2, 2, 1


def agreed(frame):
    """The agreed bytes of an opening or an end; None of any other frame."""
    if "open" in frame:
        return opening(frame["open"])
    if "close" in frame:
        return ending(frame["close"])
    return None


def digest(data):
    return hashlib.sha256(data).digest()


def number(n):
    """Unsigned LEB128."""
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def text(message, field):
    data = message.get(field, "").encode()
    return number(len(data)) + data


def placed(kind, c):
    return bytes([kind]) + number(c.get("key", {}).get("sequence", 0)) + text(c, "id")


def opening(half):
    denied = half.get("side") == INGRESS and half.get("end", {}).get("decision") == DENY
    out = placed(2 if denied else 1, half)
    out += b"".join(text(half, f) for f in ("source", "destination", "trace"))
    if denied:
        return out
    transition, operation = half.get("transition", {}), half.get("operation", {})
    out += b"".join(text(transition, f) for f in ("from", "to", "owner"))
    return out + b"".join(text(operation, f) for f in ("service", "name", "authority"))


def ending(c):
    done = c.get("cause") == DONE
    out = placed(3 if done else 4, c)
    if done:
        out += b"".join(number(c.get(f, 0)) for f in ("request_bytes", "response_bytes", "status"))
    t = c.get("transfer")
    if t is None or not done and not t.get("id"):
        return out + b"\0"
    out += b"\1" + text(t, "id") + number(t.get("extent", 0)) + number(t.get("first", 0))
    if done:
        out += text(t, "content_sha256") + number(t.get("digested", 0))
    return out
