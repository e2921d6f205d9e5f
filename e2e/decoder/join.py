"""What two accounts of a crossing come to: "Join" of gateway/crossing/FORMAT.md.

An account is a dictionary with "open", the last "progress" and "close", where they
are there. Enumerations are by name.
"""

import copy

MISSED = {"CALLER_GONE", "PEER_LOST", "GATEWAY_STOPPED", "PROTOCOL_ERROR", "REFUSED"}


def add(account, what, message):
    """Takes up what a frame says; of several that say how far it has come, the last."""
    if what == "progress" and "progress" in account and order(message) < order(account["progress"]):
        return
    account[what] = message


def order(progress):
    at = progress["at"]
    return at.get("seconds", 0), at.get("nanos", 0), progress.get("request_bytes", 0), progress.get("response_bytes", 0)


def join(egress, ingress):
    """The record of two accounts."""
    record = {"schema": "sallyport.crossing.v1"}
    first = egress.get("open") or ingress.get("open")
    if first is None:
        return record
    for field in ("id", "transition", "source", "destination", "trace", "operation", "tunnel"):
        if field in first:
            record[field] = copy.deepcopy(first[field])
    if "tunnel" in egress.get("close", {}):
        record["tunnel"] = egress["close"]["tunnel"]
    if "operation" in record and any(a.get("close", {}).get("streamed") for a in (egress, ingress)):
        record["operation"]["streamed"] = True
    if "operation" in record:
        answer(record["operation"], egress.get("close", {}), ingress.get("close", {}))
    for name, account in (("egress", egress), ("ingress", ingress)):
        if "open" in account:
            record[name] = end(account)
    key = first["key"]
    names = [segment(key[f]) for f in ("egress", "ingress") if key.get(f)]
    record["evidence"] = {"pair": " ".join(names), "run": key["run"], "sequence": key["sequence"]}
    record["state"], record["differences"] = state(egress, ingress)
    if record["state"] in ("JOINED", "DISAGREE"):
        record["agree"] = record["state"] == "JOINED"
    if not record["differences"]:
        del record["differences"]
    return record


def answer(operation, egress, ingress):
    """What the answer said, as the egress gateway read it, or else the other one."""
    said = egress.get("said", ingress.get("said"))
    if said is None:
        return
    for field in ("model_served", "finish_reason", "tokens"):
        operation.pop(field, None)
        if field in said:
            operation[field] = said[field]
    operation.pop("first_token", None)
    if "first_token" in egress.get("said", {}):
        operation["first_token"] = egress["said"]["first_token"]


def segment(spiffe_id):
    """The last segment of the path; "" if there is none."""
    path = spiffe_id.removeprefix("spiffe://").partition("/")[2]
    return path.rpartition("/")[2]


def end(account):
    """One gateway's end in the record."""
    e = copy.deepcopy(account["open"].get("end", {}))
    c = account.get("close")
    if c is None:
        passed(e, account.get("progress"))
        return e
    for field in ("duration", "first_byte", "request_bytes", "response_bytes", "status", "message", "tries", "transfer", "said", "kept",
                  "throttled", "answer_class", "answer_labeler"):
        e.pop(field, None)
        if field in c:
            e[field] = c[field]
    e["close"] = c["cause"]
    for field in ("reason", "detail", "peer"):
        if field in c:
            e[field] = c[field]
    return e


def passed(e, progress):
    """How far a crossing has come that goes on."""
    if progress is None:
        return
    for field in ("request_bytes", "response_bytes"):
        e.pop(field, None)
        if field in progress:
            e[field] = progress[field]


def whole(account):
    half = account.get("open")
    return half is not None and ("close" in account or not half["key"].get("ingress"))


def state(egress, ingress):
    e, i = egress.get("open"), ingress.get("open")
    if i is None and e and not e["key"].get("ingress"):
        return {"DENY": "DENIED", "ALLOW": "REFUSED"}[e["end"]["decision"]], []
    if (i is None and whole(egress)) or (e is None and whole(ingress)):
        return "ONE_SIDED", []
    if e is None or i is None or not whole(egress) or not whole(ingress):
        return "OPEN", []
    found = differences(egress, ingress)
    return "DISAGREE" if found else "JOINED", found


def differences(egress, ingress):
    e, i = egress["open"], ingress["open"]
    ec, ic = egress.get("close", {}), ingress.get("close", {})
    ek, ik = e["key"], i["key"]
    found = []

    def differ(name, differs):
        if differs:
            found.append(name)

    def other(a, b, *fields):
        return any(a.get(f) != b.get(f) for f in fields)

    differ("id", other(e, i, "id"))
    differ("evidence.pair", other(ek, ik, "egress", "ingress"))
    differ("evidence.run", other(ek, ik, "run"))
    differ("evidence.sequence", other(ek, ik, "sequence"))
    for field in ("source", "destination", "trace"):
        differ(field, other(e, i, field))
    denied = i["end"]["decision"] == "DENY"
    if not denied:
        for place in ("transition.from", "transition.to", "transition.owner", "operation.service", "operation.name", "operation.authority"):
            message, field = place.split(".")
            differ(place, other(e.get(message, {}), i.get(message, {}), field))
        asked(e.get("operation", {}), i.get("operation", {}), differ)
    told = ec.get("cause") == "REFUSED_BY_PEER"
    differ("decision", e["end"]["decision"] == "DENY" or denied and not told and ec.get("cause") not in MISSED)
    differ("close", told and ic.get("cause") == "DONE"
           or ec.get("cause") == "DONE" and not denied and ic.get("cause") not in ("DONE", "PEER_LOST", "GATEWAY_STOPPED"))
    proofs = [half["end"].get("proof") for half in (e, i)]
    differ("proof", all(proofs) and proofs[0] != proofs[1])
    done = ec.get("cause") == ic.get("cause") == "DONE"
    if done:
        for field, name in (("request_bytes", "requestBytes"), ("response_bytes", "responseBytes"), ("status", "status")):
            differ(name, other(ec, ic, field))
    moved(ec.get("transfer"), ic.get("transfer"), done, differ)
    if done:
        answered(ec.get("said"), ic.get("said"), differ)
        for field in ("answer_class", "answer_labeler"):
            differ(camel(field), other(ec, ic, field))
    return found


def camel(field):
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


def asked(e, i, differ):
    """Where two openings differ in what an AI service is asked for."""
    for field in ("request", "model_requested", "model_version", "tool", "agent", "data_class", "data_class_source", "labeler", "max_tokens", "session"):
        differ("operation." + camel(field), e.get(field) != i.get(field))
    differ("operation.artifact", e.get("artifact") != i.get("artifact"))
    alike = [[(m.get("name"), m.get("tool"), m.get("model"), m.get("decision")) for m in o.get("messages", [])] for o in (e, i)]
    differ("operation.messages", alike[0] != alike[1])


def answered(e, i, differ):
    """Where two answers, of which both gateways had all, differ."""
    if e is None or i is None:
        differ("said", (e is None) != (i is None))
        return
    for place in ("said.id", "operation.model_served", "operation.finish_reason", "said.failed", "said.fault"):
        where, field = place.split(".")
        differ(where + "." + camel(field), e.get(field) != i.get(field))
    reported = [s["tokens"] if s.get("tokens", {}).get("source") == "REPORTED" else None for s in (e, i)]
    differ("operation.tokens", reported[0] != reported[1])


def moved(e, i, done, differ):
    """Where two ends differ in what was moved."""
    if e is None or i is None:
        differ("transfer", done and (e is None) != (i is None))
        return
    if done or e.get("id") and i.get("id"):
        for field in ("id", "extent", "first"):
            differ("transfer." + field, e.get(field) != i.get(field))
    if done:
        differ("transfer.contentSha256", e.get("content_sha256") != i.get("content_sha256"))
        differ("transfer.digested", e.get("digested") != i.get("digested"))
