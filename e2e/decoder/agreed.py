"""What both gateways must say alike of a frame: "Join digest" of FORMAT.md.

Messages here have their enumerations by number, as wire.decode gives them.
"""

import hashlib

INGRESS, DENY, DONE, REPORTED = 2, 2, 1, 1

# What both must say alike of what an AI service is asked for.
ASKED = [
    "request", "model_requested", "model_version", "tool", "agent", "data_class", "data_class_source", "labeler", "max_tokens", "session", "messages",
    "artifact",
]

ARTIFACT = ["name", "reference", "kind", "source"]


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
    transition, operation = half.get("transition", {}), half.get("operation", {})
    asks = any(field in operation for field in ASKED)
    out = placed(2 if denied else 8 if "model_version" in operation else 7 if "artifact" in operation else 5 if asks else 1, half)
    out += b"".join(text(half, f) for f in ("source", "destination", "trace"))
    if denied:
        return out
    out += b"".join(text(transition, f) for f in ("from", "to", "owner"))
    out += b"".join(text(operation, f) for f in ("service", "name", "authority"))
    return out + asked(operation) if asks else out


def asked(operation):
    out = b"".join(text(operation, f) for f in ("request", "model_requested", "tool", "agent", "data_class"))
    out += number(operation.get("data_class_source", 0)) + text(operation, "labeler")
    out += if_any(operation, "max_tokens") + text(operation, "session")
    messages = operation.get("messages", [])
    out += number(len(messages))
    out += b"".join(text(m, "name") + text(m, "tool") + text(m, "model") + number(m.get("decision", 0)) for m in messages)
    if "model_version" in operation:
        out += text(operation, "model_version") + number("artifact" in operation)
    if "artifact" not in operation:
        return out
    return out + b"".join(text(operation["artifact"], f) for f in ARTIFACT)


def if_any(message, field):
    return b"\1" + number(message[field]) if field in message else b"\0"


def ending(c):
    done = c.get("cause") == DONE
    said = c.get("said") if done else None
    out = b"\x0a" + text(c, "answer_class") + text(c, "answer_labeler") if done and c.get("answer_labeler") else b""
    out += placed(4 if not done else 3 if said is None else 6, c)
    if done:
        out += b"".join(number(c.get(f, 0)) for f in ("request_bytes", "response_bytes", "status"))
    out += moved(c.get("transfer"), done)
    return out if said is None else out + answered(said)


def answered(said):
    out = b"".join(text(said, f) for f in ("id", "model_served", "finish_reason"))
    out += number(said.get("failed", False)) + text(said, "fault")
    tokens = said.get("tokens", {})
    if tokens.get("source") != REPORTED:
        return out + b"\0"
    return out + b"\1" + b"".join(if_any(tokens, f) for f in ("input", "output", "cache_read", "cache_written", "reasoning"))


def moved(t, done):
    if t is None or not done and not t.get("id"):
        return b"\0"
    out = b"\1" + text(t, "id") + number(t.get("extent", 0)) + number(t.get("first", 0))
    if done:
        out += text(t, "content_sha256") + number(t.get("digested", 0))
    return out
