"""Protobuf's wire format and its JSON, for messages of a schema.

A message is a dictionary of the fields that are there: text, bytes, numbers,
booleans, enumerations by their numbers, messages, and lists of them. What has its
default value is not there, but for fields that are optional.
"""

import base64
import datetime

VARINT, I64, LEN, I32 = 0, 1, 2, 5
LONGEST_TEXT = 4096

# The bounds of protobuf's own times: years 1 to 9999, and 10,000 years.
FIRST_SECOND, LAST_SECOND = -62135596800, 253402300799
MOST_SECONDS = 315576000000


class Refused(Exception):
    """What a decoder refuses."""


def decode(schema, name, data):
    """Decodes a message as strictly as FORMAT.md asks of a decoder of frames."""
    message = {}
    _merge(schema, name, data, message)
    _check(schema, name, message)
    return message


def _merge(schema, name, data, message):
    fields = schema.messages[name]
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29:
            raise Refused("a field of number %d" % number)
        if number not in fields:
            raise Refused("%s has the unknown field %d" % (name, number))
        field, kind, repeated, optional = fields[number]
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire == LEN:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise Refused("%s is cut short" % name)
            value, at = data[at:at + length], at + length
        else:
            raise Refused("%s.%s has the wire type %d" % (name, field, wire))
        _store(schema, message, (field, kind, repeated, optional), wire, value)


def _store(schema, message, described, wire, value):
    field, kind, repeated, optional = described
    number = kind not in ("string", "bytes") and kind not in schema.messages
    if number and repeated and wire == LEN:  # packed
        at = 0
        while at < len(value):
            one, at = _varint(value, at)
            message.setdefault(field, []).append(_number(schema, kind, one))
        return
    if number != (wire == VARINT):
        raise Refused("%s has the wire type %d" % (field, wire))
    if kind in schema.messages:
        if repeated:
            message.setdefault(field, []).append(inner := {})
        else:
            inner = message.setdefault(field, {})  # one that comes again is merged
        _merge(schema, kind, value, inner)
        return
    if number:
        value = _number(schema, kind, value)
    elif kind == "string":
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("%s is not UTF-8" % field) from None
    if repeated:
        message.setdefault(field, []).append(value)
    elif value or optional:
        message[field] = value
    else:
        message.pop(field, None)


def _varint(data, at):
    """A number of up to 64 bits, in up to ten bytes."""
    value = 0
    for i in range(10):
        if at >= len(data):
            raise Refused("cut short within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if value >= 1 << 64:
                raise Refused("a number of more than 64 bits")
            return value, at
    raise Refused("a number of more than ten bytes")


def _number(schema, kind, value):
    """What a varint says in a field of that type: 32-bit types take its lower half."""
    if kind == "bool":
        return value != 0
    if kind in ("int32", "uint32") or kind in schema.enums:
        value &= 0xFFFFFFFF
        return value - (1 << 32) if kind != "uint32" and value >> 31 else value
    return value - (1 << 64) if kind == "int64" and value >> 63 else value


def encode(schema, name, message):
    """Encodes a message as encoders must: fields by number, each once, no defaults."""
    out = b""
    for number, (field, kind, repeated, _) in sorted(schema.messages[name].items()):
        if field not in message:
            continue
        values = message[field] if repeated else [message[field]]
        if kind in schema.messages:
            values = [encode(schema, kind, v) for v in values]
        elif kind == "string":
            values = [v.encode() for v in values]
        elif kind != "bytes":
            numbers = [_put(v & (1 << 64) - 1) for v in map(int, values)]
            if not repeated:
                out += _put(number << 3 | VARINT) + numbers[0]
                continue
            values = [b"".join(numbers)]  # packed
        for value in values:
            out += _put(number << 3 | LEN) + _put(len(value)) + value
    return out


def _put(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def _check(schema, name, message):
    """Refuses what no record may say, at any depth."""
    if name == "google.protobuf.Timestamp":
        _check_clock(message, FIRST_SECOND, LAST_SECOND, signed=False)
    elif name == "google.protobuf.Duration":
        _check_clock(message, -MOST_SECONDS, MOST_SECONDS, signed=True)
    for field, kind, repeated, _ in schema.messages[name].values():
        if field not in message:
            continue
        for value in message[field] if repeated else [message[field]]:
            if kind == "string" and len(value.encode()) > LONGEST_TEXT:
                raise Refused("%s is too long" % field)
            if kind in schema.enums and value not in schema.enums[kind]:
                raise Refused("%s has the unknown value %d" % (field, value))
            if kind in schema.messages:
                _check(schema, kind, value)


def _check_clock(message, least, most, signed):
    seconds, nanos = message.get("seconds", 0), message.get("nanos", 0)
    good = least <= seconds <= most and abs(nanos) < 10**9
    if signed:
        good = good and not (seconds > 0 > nanos or seconds < 0 < nanos)
    else:
        good = good and nanos >= 0
    if not good:
        raise Refused("a time of %d seconds and %d nanoseconds" % (seconds, nanos))


def to_json(schema, name, message):
    """Protobuf's JSON of a message, as Python's json understands it."""
    if name == "google.protobuf.Timestamp":
        when = datetime.datetime(1, 1, 1) + datetime.timedelta(seconds=message.get("seconds", 0) - FIRST_SECOND)
        return when.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + _fraction(message.get("nanos", 0)) + "Z"
    if name == "google.protobuf.Duration":
        seconds, nanos = message.get("seconds", 0), message.get("nanos", 0)
        sign = "-" if seconds < 0 or nanos < 0 else ""
        return sign + str(abs(seconds)) + _fraction(abs(nanos)) + "s"
    out = {}
    for field, kind, repeated, _ in schema.messages[name].values():
        if field in message:
            value = message[field]
            one = [_value(schema, kind, v) for v in value] if repeated else _value(schema, kind, value)
            out[_camel(field)] = one
    return out


def _value(schema, kind, value):
    if kind in schema.messages:
        return to_json(schema, kind, value)
    if kind in schema.enums:
        return schema.enums[kind].get(value, value)
    if kind in ("int64", "uint64"):
        return str(value)
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return value


def _fraction(nanos):
    """None, three, six or nine digits."""
    if nanos == 0:
        return ""
    digits = "%09d" % nanos
    while digits.endswith("000"):
        digits = digits[:-3]
    return "." + digits


def _camel(field):
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)
