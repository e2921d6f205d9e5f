"""The messages of .proto files, as far as a decoder needs them.

Only what the files of this repository say is understood: proto3, no maps, no
oneof, no extensions. Anything else is an error, never a guess.
"""

import re

TOKEN = re.compile(r'"[^"]*"|[A-Za-z_][\w.]*|\d+|[{}=;<>,\[\]]')

# The two messages of google.protobuf that are in use.
WELL_KNOWN = {
    "google.protobuf.Timestamp": {1: ("seconds", "int64", False, False), 2: ("nanos", "int32", False, False)},
    "google.protobuf.Duration": {1: ("seconds", "int64", False, False), 2: ("nanos", "int32", False, False)},
}

SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64"}


class Schema:
    """Messages and enumerations by their full names.

    messages: name -> {number: (field, type, repeated, optional)}
    enums:    name -> {number: value's name}
    """

    def __init__(self, texts):
        self.messages = dict(WELL_KNOWN)
        self.enums = {}
        for text in texts:
            _File(self, text).read()
        for name, fields in self.messages.items():
            for number, (field, kind, repeated, optional) in fields.items():
                fields[number] = (field, self._resolve(name, kind), repeated, optional)

    def _resolve(self, scope, kind):
        """The full name of a type: the innermost scope that has it."""
        if kind in SCALARS:
            return kind
        while True:
            full = scope + "." + kind if scope else kind
            if full in self.messages or full in self.enums:
                return full
            if not scope:
                raise ValueError("unknown type " + kind)
            scope = scope.rpartition(".")[0]


class _File:
    """One file, read token by token."""

    def __init__(self, schema, text):
        self.schema = schema
        self.tokens = TOKEN.findall(re.sub(r"//[^\n]*", "", text))
        self.at = 0

    def next(self, want=None):
        token = self.tokens[self.at]
        self.at += 1
        if want is not None and token != want:
            raise ValueError("found %s, want %s" % (token, want))
        return token

    def statement(self):
        """Skips to the end of a statement."""
        while self.next() != ";":
            pass

    def block(self):
        """Skips what stands in braces."""
        depth = 0
        while True:
            depth += {"{": 1, "}": -1}.get(self.next(), 0)
            if depth == 0:
                return

    def read(self):
        package = ""
        while self.at < len(self.tokens):
            word = self.next()
            if word == "package":
                package = self.next()
                self.next(";")
            elif word in ("syntax", "import", "option"):
                self.statement()
            elif word == "message":
                self.message(package)
            elif word == "enum":
                self.enum(package)
            elif word == "service":
                self.block()
            else:
                raise ValueError("a file with " + word)

    def message(self, scope):
        name = scope + "." + self.next()
        fields = self.schema.messages[name] = {}
        self.next("{")
        while True:
            word = self.next()
            if word == "}":
                return
            if word == "message":
                self.message(name)
            elif word == "enum":
                self.enum(name)
            elif word in ("reserved", "option"):
                self.statement()
            elif word == "map" and self.tokens[self.at] == "<":
                self.statement()  # the policy's alone, which no frame holds
            else:
                self.field(fields, word)

    def field(self, fields, word):
        repeated, optional = word == "repeated", word == "optional"
        kind = self.next() if repeated or optional else word
        field = self.next()
        self.next("=")
        fields[int(self.next())] = (field, kind, repeated, optional)
        self.next(";")

    def enum(self, scope):
        name = scope + "." + self.next()
        values = self.schema.enums[name] = {}
        self.next("{")
        while True:
            value = self.next()
            if value == "}":
                return
            self.next("=")
            values[int(self.next())] = value
            self.next(";")
