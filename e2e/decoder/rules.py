"""Which frames are acceptable: the rules of gateway/crossing/FORMAT.md, by number.

A frame is a dictionary as wire.decode gives it; enumerations are by name here.
"""

import re

from wire import Refused

OUTAGES = {"UNREACHABLE", "NOT_RECORDED", "DRAINING", "OVER_LIMIT", "DISAGREES"}
JUDGED = OUTAGES | {"", "NO_INTENT", "DENIED_BY_INTENT", "NOT_ENFORCEABLE", "NO_PROOF", "BAD_PROOF"} | {
    "UNREADABLE", "OVER_BUDGET", "FORBIDDEN_ANSWER", "TOOL_CHANGED", "DIGEST_NOT_ALLOWED", "GUARD_REFUSED", "GUARD_UNAVAILABLE",
}
THINGS = ["open", "close", "refusal", "applied", "progress", "outage", "statement", "heartbeat", "announcement"]

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
RULE = re.compile(r"[a-z0-9.-]{1,64}\Z")
# Years 2000 to 2199.
FIRST_TIME, END_OF_TIME = 946684800, 7258118400
LONGEST_DURATION = 366 * 24 * 3600 * 10**9


def acceptable(frame, gateway):
    """Refuses a frame that did not come from that gateway, or may not."""
    need(1, spiffe_id(gateway) and frame.get("gateway") == gateway)
    need(2, hexadecimal(frame.get("run"), 32))
    said = [thing for thing in THINGS if thing in frame]
    need(3, len(said) == 1)
    what = frame[said[0]]
    check = {
        "open": opening, "close": ending, "refusal": refusal, "applied": applied, "progress": progress, "outage": outage,
    }.get(said[0])
    if check:
        check(what, frame)
    return said[0]


def need(rule, holds):
    if not holds:
        raise Refused("rule %d" % rule)


# The forms of values.

def spiffe_id(text):
    """The trust domain of a SPIFFE ID; "" if it is none."""
    match = re.match(r"spiffe://([a-z0-9.\-_]+)((?:/[A-Za-z0-9.\-_]+)*)\Z", text or "")
    if not match or any(segment in (".", "..") for segment in match.group(2).split("/")):
        return ""
    return match.group(1)


def hexadecimal(text, digits, zero=False):
    return bool(re.match(r"[0-9a-f]{%d}\Z" % digits, text or "")) and (zero or text.strip("0") != "")


def revision(text):
    return (text or "").startswith("sha256:") and hexadecimal(text[7:], 64)


def visible(text, most):
    return len(text.encode()) <= most and all(" " <= c <= "~" for c in text)


def message(text, most=1024):
    controls = (c < " " or "\x7f" <= c <= "\x9f" for c in text)
    return len(text.encode()) <= most and not any(controls)


def words(message_, *fields):
    return all(message(message_.get(f, ""), 256) for f in fields)


def time(t):
    return t is not None and FIRST_TIME <= t.get("seconds", 0) < END_OF_TIME


def nanoseconds(t):
    return t.get("seconds", 0) * 10**9 + t.get("nanos", 0)


def durations(*ds):
    return all(d is None or 0 <= nanoseconds(d) <= LONGEST_DURATION for d in ds)


# What may be said.

def placed(c, frame):
    """Rules 4 to 8."""
    key = c.get("key", {})
    egress, ingress = key.get("egress", ""), key.get("ingress", "")
    need(4, UUID7.match(c.get("id", "")) and hexadecimal(key.get("run"), 32))
    need(5, spiffe_id(egress) and (ingress == "" or spiffe_id(ingress)) and egress != ingress)
    need(6, key.get("sequence", 0) != 0)
    writer = {"EGRESS": egress, "INGRESS": ingress}.get(c.get("side"))
    need(7, writer is not None and writer == frame["gateway"])
    need(8, c["side"] != "EGRESS" or key["run"] == frame["run"])


def opening(half, frame):
    placed(half, frame)
    end, key = half.get("end", {}), half["key"]
    reason, decision = end.get("reason", ""), end.get("decision")
    need(9, end.get("gateway") == frame["gateway"])
    need(10, hexadecimal(half.get("trace"), 32) and hexadecimal(half.get("span"), 16))
    need(11, "named" not in end or half["side"] == "INGRESS")
    if decision == "DENY":
        need(12, reason != "" and (reason not in OUTAGES or reason in ("OVER_LIMIT", "DISAGREES")))
    else:
        need(12, decision == "ALLOW" and (reason in ("", "TOO_LARGE") or reason in OUTAGES))
    need(13, time(end.get("open")) and durations(end.get("duration"), end.get("first_byte"), half.get("tunnel", {}).get("round_trip")))
    alone = key.get("ingress", "") == ""
    need(14, alone == (half["side"] == "EGRESS" and reason != "") and (alone or reason not in OUTAGES))
    need(15, end.get("close", "") == ("REFUSED" if alone else ""))
    source = spiffe_id(half.get("source"))
    need(16, source and (decision == "DENY" or source == spiffe_id(key["egress"])))
    destination = half.get("destination", "")
    need(17, spiffe_id(destination) or destination == "" and decision == "DENY")
    answerable(half, end, reason)
    referring(end)
    need(20, "transfer" not in end and visible(half.get("operation", {}).get("authority", ""), 320)
         and visible(end.get("detail", ""), 512) and message(end.get("message", "")))
    need(31, not any(f in end for f in ("said", "kept", "throttled", "answer_class", "answer_labeler")))
    guarded(end.get("guarded", []))
    asked(half.get("operation", {}))


def asked(operation):
    """Rule 31."""
    need(31, not any(f in operation for f in ("model_served", "finish_reason", "tokens", "first_token")))
    need(31, "session" not in operation or hexadecimal(operation["session"], 16))
    need(31, "labeler" not in operation or spiffe_id(operation["labeler"]))
    offered, messages = operation.get("offered", []), operation.get("messages", [])
    need(31, len(offered) <= 32 and len(messages) <= 64)
    need(31, tensors(operation.get("inputs", [])))
    need(31, words(operation, "model_requested", "model_version", "tool", "agent", "data_class") and all(message(text, 256) for text in offered))
    need(31, all(words(m, "name", "tool", "model", "intent") for m in messages))
    need(31, words(operation.get("artifact", {}), "name", "reference", "kind", "source"))


def tensors(all_):
    """What is said of tensors in rules 31 and 32."""
    return len(all_) <= 32 and all(len(t.get("shape", [])) <= 16 and words(t, "name", "datatype") for t in all_)


def guarded(all_):
    """Rule 33."""
    need(33, len(all_) <= 32)
    for g in all_:
        need(33, RULE.match(g.get("guard", "")) and visible(g.get("fault", ""), 512) and durations(g.get("took")))
        need(33, ("verdict" in g) == (not g.get("fault")))
        findings = g.get("findings", [])
        need(33, len(findings) <= 16 and all(RULE.match(name) for name in findings))
        need(33, not g.get("rule") or RULE.match(g["rule"]))


def answerable(half, end, reason):
    """Rule 18."""
    t = half.get("transition", {})
    if reason in JUDGED:
        need(18, all(t.get(f) for f in ("from", "to", "owner")) and "policy" in end)
    elif "policy" in end:
        need(18, t.get("owner"))
    else:
        other = "from" if half["side"] == "INGRESS" else "to"
        need(18, not (t.get("owner") or t.get("sink") or t.get(other)))


def referring(end):
    """Rule 19."""
    policy = end.get("policy")
    need(19, policy is None or policy.get("serial", 0) != 0 and revision(policy.get("revision")))
    need(19, not end.get("proof") or revision(end["proof"]))


def ending(c, frame):
    placed(c, frame)
    cause, reason = c.get("cause", ""), c.get("reason", "")
    need(21, c["key"].get("ingress", "") != "")
    need(22, cause != "")
    need(23, not (cause == "DONE" and reason) and not (cause == "REFUSED" and not reason))
    need(24, durations(c.get("duration"), c.get("first_byte"), c.get("throttled"), c.get("tunnel", {}).get("round_trip")))
    need(25, "tunnel" not in c or c["side"] == "EGRESS")
    need(25, visible(c.get("detail", ""), 512) and message(c.get("message", "")))
    if "transfer" in c:
        transfer(c["transfer"])
    if "said" in c:
        answered(c["said"])
    need(32, words(c.get("kept", {}), "request", "answer"))
    need(34, ("answer_class" in c) == ("answer_labeler" in c))
    need(34, words(c, "answer_class") and ("answer_labeler" not in c or spiffe_id(c["answer_labeler"])))


def answered(said):
    """Rule 32."""
    need(32, words(said, "id", "model_served", "finish_reason", "fault"))
    need(32, all(message(text, 256) for text in said.get("tools_changed", [])))
    need(32, tensors(said.get("outputs", [])))
    need(32, durations(said.get("first_token"), said.get("longest_gap")))
    tokens = said.get("tokens", {})
    need(32, not tokens or tokens.get("source"))


def transfer(t):
    """Rule 26."""
    need(26, t.get("id", "") == "" if t.get("anonymous") else hexadecimal(t.get("id"), 32))
    need(26, t.get("direction"))
    need(26, t.get("object") and visible(t["object"], 512))
    need(26, hexadecimal(t.get("content_sha256"), 64, zero=True) and words(t, "format", "kind"))
    need(26, all(message(text, 256) for text in t.get("dtypes", [])))
    verdict, by, sha = t.get("declared", ""), t.get("declared_by", ""), t.get("declared_sha256", "")
    need(26, (verdict != "") == (by != "") and visible(by, 64))
    another = hexadecimal(sha, 64, zero=True)
    need(26, {
        "": sha == "", "MATCH": sha == "", "NOT_COMPARABLE": sha == "" or another,
        "MISMATCH": another and sha != t["content_sha256"],
    }[verdict])


def refusal(r, _):
    need(27, r.get("reason") and r.get("listener") and r.get("count", 0) != 0 and time(r.get("second")))
    need(27, all(visible(r.get(f, ""), 512) for f in ("listener", "prefix", "detail")))


def applied(a, _):
    need(28, revision(a.get("act")) and a.get("kind") and spiffe_id(a.get("subject")) and time(a.get("at")))


def progress(p, frame):
    placed(p, frame)
    need(29, p["key"].get("ingress", "") != "" and time(p.get("at")))


def outage(o, _):
    need(30, o.get("cause") and time(o.get("began")) and time(o.get("ended")))
    need(30, nanoseconds(o["ended"]) >= nanoseconds(o["began"]) and visible(o.get("detail", ""), 512))
