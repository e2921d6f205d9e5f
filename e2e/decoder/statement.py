"""Statements, as gateway/statement/FORMAT.md has them: whether one is well formed, and
what it must say of the frames that it is on."""

import hashlib

import agreed
import ed25519
import merkle
import rules
import wire

PACKAGE = "sallyport.crossing.v1."
ABSENT = merkle.leaf(b"")  # of a number without a frame
LONGEST = 64512
MOST_NUMBERS = 4000


def read(protos, case):
    """Reads a statement, and works out from both gateways' frames what it must say.

    case: "statement" in hex; "egress" and "ingress", the frames of either gateway in
    hex; "keys", the public keys of either, in hex.
    """
    try:
        statement = wire.decode(protos, PACKAGE + "Statement", bytes.fromhex(case["statement"]))
        claim_bytes, answer_bytes = statement.get("claim", b""), statement.get("answer", b"")
        claim = wire.decode(protos, PACKAGE + "Claim", claim_bytes)
        answer = wire.decode(protos, PACKAGE + "Answer", answer_bytes)
        well_formed(statement, claim, answer)
    except wire.Refused as why:
        return {"refused": str(why)}
    claim_hash, answer_hash = sha256(claim_bytes), sha256(answer_bytes)
    opened = list(range(claim["first"], claim["next"]))
    closed = numbers(claim.get("closed", []))
    deferred = numbers(answer.get("deferred", []))
    egress, ingress = Frames(protos, case["egress"]), Frames(protos, case["ingress"])
    return {
        "claim": wire.to_json(protos, PACKAGE + "Claim", claim),
        "answer": wire.to_json(protos, PACKAGE + "Answer", answer),
        "voids": numbers(claim.get("voids", []), claim["first"]),
        "closed": closed,
        "deferred": deferred,
        "claimHash": claim_hash.hex(),
        "answerHash": answer_hash.hex(),
        "roots": {
            "egress": egress.roots(opened, closed, []), "ingress": ingress.roots(opened, closed, deferred),
        },
        "agreed": egress.agreed(opened, closed),
        "leaves": [merkle.leaf(bytes.fromhex(f)).hex() for f in case["egress"] + case["ingress"]],
        "signed": {
            "egress": signed(case["keys"]["egress"], statement.get("egress"), b"claim", claim_hash),
            "ingress": signed(case["keys"]["ingress"], statement.get("ingress"), b"answer", claim_hash, answer_hash),
        },
    }


def message(protos, case):
    """Reads a signed message that is no statement: a heartbeat, or an announcement.

    case: "message", its name; "hex"; "signature" and "key", in hex. An announcement is
    signed without the field of its signature.
    """
    name = PACKAGE + case["message"]
    data = bytes.fromhex(case["hex"])
    decoded = wire.decode(protos, name, data)
    unsigned = {f: v for f, v in decoded.items() if f != "signature"}
    if case["message"] == "Announcement":
        data = wire.encode(protos, name, unsigned)
    text = b"sallyport.statement.v1 " + case["message"].lower().encode() + b"\0" + sha256(data)
    verified = ed25519.verify(bytes.fromhex(case["key"]), text, bytes.fromhex(case["signature"]))
    return {"message": wire.to_json(protos, name, decoded), "signed": verified}


def need(holds, what):
    if not holds:
        raise wire.Refused(what)


def well_formed(statement, claim, answer):
    claim_bytes, answer_bytes = statement.get("claim", b""), statement.get("answer", b"")
    need(len(claim_bytes) + len(answer_bytes) <= LONGEST, "size")
    signature(statement.get("egress", {}))
    chain = claim.get("chain", {})
    egress, ingress = chain.get("egress", ""), chain.get("ingress", "")
    need(rules.spiffe_id(egress) and rules.hexadecimal(chain.get("run"), 32), "chain")
    need(ingress == "" or rules.spiffe_id(ingress) and ingress != egress, "chain")
    claimed(claim, alone=ingress == "")
    if not answer_bytes:
        need("ingress" not in statement, "signature of no answer")
        return
    need(ingress != "", "an answer of nobody's")
    signature(statement.get("ingress", {}))
    answered(answer, claim, sha256(claim_bytes))


def claimed(c, alone):
    epoch, first, following = (c.get(f, 0) for f in ("epoch", "first", "next"))
    previous, answer = c.get("previous", b""), c.get("answered", b"")
    need(epoch > 0, "epoch")
    need(len(previous) == (0 if epoch == 1 else 32), "previous")
    need(len(answer) in ((0,) if epoch == 1 else (0, 32)), "answered")
    need(0 < first <= following <= first + MOST_NUMBERS, "first and next")
    voids, closed = rising(c.get("voids", []), first), rising(c.get("closed", []))
    need(len(voids) <= MOST_NUMBERS and all(n < following for n in voids), "voids")
    need(len(closed) <= MOST_NUMBERS and all(0 < n < following for n in closed), "closed")
    need(not (alone and closed), "closed without an ingress gateway")
    hashes(c, "roots")
    hashes(c, "agreed")
    need(rules.time(c.get("since")) and rules.time(c.get("at")), "times")


def answered(a, claim, claim_hash):
    need(a.get("claim") == claim_hash, "another claim")
    need(rules.hexadecimal(a.get("run"), 32), "run")
    hashes(a, "roots")
    need(set(rising(a.get("deferred", []))) <= set(numbers(claim.get("closed", []))), "deferred")
    need(rules.time(a.get("at")), "time")
    need(a.get("missed", 0) < claim["epoch"], "missed")
    for d in a.get("differences", []):
        fields = d.get("fields", [])
        need(d.get("kind") and 0 not in rising(d.get("numbers", [])) and d.get("numbers"), "difference")
        need(len(fields) <= 32 and all(0 < len(f.encode()) <= 64 for f in fields), "fields")


def signature(s):
    need(s.get("algorithm") == 1 and len(s.get("key", b"")) == 32 and len(s.get("value", b"")) == 64, "signature")


def hashes(message, field):
    need(all(len(message.get(field, {}).get(f, b"")) == 32 for f in ("opened", "closed")), field)


def rising(distances, first=0):
    out = numbers(distances, first)
    need(0 not in distances[1:] and all(n < 1 << 64 for n in out), "numbers that do not rise")
    return out


class Frames:
    """One gateway's frames: of each number, how it opened and how it ended."""

    def __init__(self, protos, frames):
        self.openings, self.ends = {}, {}
        for text in frames:
            data = bytes.fromhex(text)
            frame = wire.decode(protos, PACKAGE + "Frame", data)
            of, what = (self.openings, "open") if "open" in frame else (self.ends, "close")
            of[frame[what]["key"]["sequence"]] = data, agreed.agreed(frame)

    def roots(self, opened, closed, without):
        """The roots of both lists. Of some ends the gateway has no frame yet."""
        ends = {n: e for n, e in self.ends.items() if n not in without}
        return {"opened": root(opened, self.openings), "closed": root(closed, ends)}

    def agreed(self, opened, closed):
        return {"opened": digest(opened, self.openings), "closed": digest(closed, self.ends)}


def root(listed, frames):
    return merkle.root([merkle.leaf(frames[n][0]) if n in frames else ABSENT for n in listed]).hex()


def digest(listed, frames):
    """The agreed bytes of all numbers in a row; none of one without a frame."""
    return sha256(b"".join(frames[n][1] for n in listed if n in frames)).hex()


def numbers(distances, first=0):
    """Rising numbers, each said as its distance from the one before."""
    out = []
    for distance in distances:
        first += distance
        out.append(first)
    return out


def signed(public, signature, what, *hashes):
    if signature is None:
        return False
    key = bytes.fromhex(public)
    message = b"sallyport.statement.v1 " + what + b"\0" + b"".join(hashes)
    return signature.get("key") == sha256(key) and ed25519.verify(key, message, signature.get("value", b""))


def sha256(data):
    return hashlib.sha256(data).digest()
