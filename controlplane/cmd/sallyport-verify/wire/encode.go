package wire

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// Encode encodes a message in the one way: fields in the order of their numbers, each
// once, without those that have their default value unless they are optional, numbers
// packed and short.
func (m *Message) Encode() []byte { return m.append(nil) }

func (m *Message) append(b []byte) []byte {
	for at := range m.slots {
		f, s := &m.schema.fields[at], &m.slots[at]
		if s.set {
			b = s.append(b, f)
		}
	}
	return b
}

func (s *slot) append(b []byte, f *Field) []byte {
	switch {
	case f.kind == kindMessage && f.repeated:
		for _, sub := range s.more.subs {
			b = appendBytes(b, f, sub.Encode())
		}
	case f.kind == kindMessage:
		b = appendBytes(b, f, s.more.sub.Encode())
	case f.kind >= kindText && f.repeated:
		for _, item := range s.more.list {
			b = appendBytes(b, f, item)
		}
	case f.kind >= kindText:
		if len(s.b) > 0 {
			b = appendBytes(b, f, s.b)
		}
	case f.repeated:
		var all []byte
		for _, n := range s.more.nums {
			all = AppendVarint(all, n)
		}
		b = appendBytes(b, f, all)
	case s.n != 0 || f.optional:
		b = AppendVarint(AppendVarint(b, uint64(f.number)<<3|typeVarint), s.n)
	}
	return b
}

func appendBytes(b []byte, f *Field, data []byte) []byte {
	b = AppendVarint(b, uint64(f.number)<<3|typeBytes)
	return append(AppendVarint(b, uint64(len(data))), data...)
}

// AppendVarint appends a number in groups of seven bits, the lowest first.
func AppendVarint(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// MarshalJSON gives protobuf's JSON: numbers of 64 bits as texts, enumerations by name,
// bytes in base64, defaults left out.
func (m *Message) MarshalJSON() ([]byte, error) {
	if m == nil {
		return []byte("null"), nil
	}
	if m.schema.text != nil {
		return json.Marshal(m.schema.text(m))
	}
	b := []byte{'{'}
	for at := range m.slots {
		f, s := &m.schema.fields[at], &m.slots[at]
		if !s.shown(f) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.name...), '"', ':')
		value, err := json.Marshal(s.json(f))
		if err != nil {
			return nil, err
		}
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// shown says that a field has another value than its default, or has one by itself.
func (s *slot) shown(f *Field) bool {
	return s.set && (f.kind == kindMessage || f.repeated || f.optional || s.n != 0 || len(s.b) > 0)
}

func (s *slot) json(f *Field) any {
	switch {
	case f.kind == kindMessage && f.repeated:
		return s.more.subs
	case f.kind == kindMessage:
		return s.more.sub
	case f.repeated && f.kind >= kindText:
		all := make([]any, len(s.more.list))
		for at, b := range s.more.list {
			all[at] = f.scalar(0, b)
		}
		return all
	case f.repeated:
		all := make([]any, len(s.more.nums))
		for at, n := range s.more.nums {
			all[at] = f.scalar(n, nil)
		}
		return all
	}
	return f.scalar(s.n, s.b)
}

func (f *Field) scalar(n uint64, b []byte) any {
	switch f.kind {
	case kindUint64:
		return strconv.FormatUint(n, 10)
	case kindInt64:
		return strconv.FormatInt(int64(n), 10)
	case kindInt32:
		return int64(n)
	case kindBool:
		return n == 1
	case kindEnum:
		return f.values[n]
	case kindText:
		return string(b)
	case kindBytes:
		return base64.StdEncoding.EncodeToString(b)
	}
	return n
}
