"""What a statement says, and what it must say of the frames that it is on."""

import hashlib

import agreed
import ed25519
import merkle
import wire

PACKAGE = "sallyport.crossing.v1."
ABSENT = merkle.leaf(b"")  # of a number without a frame


def read(protos, case):
    """Reads a statement, and works out from both gateways' frames what it must say.

    case: "statement" in hex; "egress" and "ingress", the frames of either gateway in
    hex; "keys", the public keys of either, in hex.
    """
    statement = wire.decode(protos, PACKAGE + "Statement", bytes.fromhex(case["statement"]))
    claim_bytes, answer_bytes = statement["claim"], statement.get("answer", b"")
    claim = wire.decode(protos, PACKAGE + "Claim", claim_bytes)
    answer = wire.decode(protos, PACKAGE + "Answer", answer_bytes)
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
        "signed": {
            "egress": signed(case["keys"]["egress"], statement.get("egress"), b"claim", claim_hash),
            "ingress": signed(case["keys"]["ingress"], statement.get("ingress"), b"answer", claim_hash, answer_hash),
        },
    }


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
