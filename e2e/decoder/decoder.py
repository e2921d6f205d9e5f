"""A second decoder of Sallyport's records, written from gateway/crossing/FORMAT.md.

    python3 decoder.py PROTO < CASES

PROTO is the folder of the .proto files. CASES is a JSON list of cases, for each of
which one line of JSON comes out. A case is a list of frames in hex, in the order of
their delivery: of each, what it says and the join digest of that, or why it is
refused, and the record that the acceptable ones join to. Or it is a statement with
the frames that it is on, or another signed message (statement.py). It needs nothing
but Python's standard library.
"""

import json
import pathlib
import sys

import agreed
import join
import rules
import schema
import statement
import wire

FRAME = "sallyport.crossing.v1.Frame"
RECORD = "sallyport.crossing.v1.Record"
MOST = 65536

FILES = [
    "sallyport/crossing/v1/crossing.proto", "sallyport/crossing/v1/frame.proto", "sallyport/crossing/v1/statement.proto",
    "sallyport/policy/v1/policy.proto", "sallyport/policy/v1/act.proto",
]


def main():
    folder = pathlib.Path(sys.argv[1])
    protos = schema.Schema((folder / name).read_text() for name in FILES)
    for case in json.load(sys.stdin):
        how = deliver if isinstance(case, list) else statement.read if "statement" in case else statement.message
        print(json.dumps(how(protos, case)))


def deliver(protos, case):
    """Takes the frames of one crossing and says what becomes of them."""
    accounts = {"EGRESS": {}, "INGRESS": {}}
    frames = []
    for text in case:
        said = {}
        frames.append(said)
        try:
            data = bytes.fromhex(text)
            if len(data) > MOST:
                raise wire.Refused("%d bytes" % len(data))
            decoded = wire.decode(protos, FRAME, data)
            said["frame"] = wire.to_json(protos, FRAME, decoded)
            said["hex"] = wire.encode(protos, FRAME, decoded).hex()
            alike = agreed.agreed(decoded)
            if alike is not None:
                said["agreed"], said["digest"] = alike.hex(), agreed.digest(alike).hex()
            frame = named(protos, FRAME, decoded)
            what = rules.acceptable(frame, frame.get("gateway", ""))
        except wire.Refused as why:
            said["refused"] = str(why)
            continue
        if what in ("open", "progress", "close"):
            join.add(accounts[frame[what]["side"]], what, frame[what])
    record = join.join(accounts["EGRESS"], accounts["INGRESS"])
    return {"frames": frames, "record": wire.to_json(protos, RECORD, numbered(protos, RECORD, record))}


def named(protos, name, message):
    """A message with its enumerations by name; those that say nothing are not there."""
    return mapped(protos, name, message, lambda values, v: values[v])


def numbered(protos, name, message):
    """The same the other way round."""
    return mapped(protos, name, message, lambda values, v: {n: k for k, n in values.items()}[v])


def mapped(protos, name, message, how):
    out = {}
    for field, kind, repeated, _ in protos.messages[name].values():
        if field not in message:
            continue
        values = message[field] if repeated else [message[field]]
        if kind in protos.enums:
            values = [how(protos.enums[kind], v) for v in values]
        elif kind in protos.messages:
            values = [mapped(protos, kind, v, how) for v in values]
        out[field] = values if repeated else values[0]
    return out


if __name__ == "__main__":
    main()
