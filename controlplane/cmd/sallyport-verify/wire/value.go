package wire

import "time"

// The methods below give the value of a field by its name, and what stands for none where
// it did not come. They panic if there is no such field in the message.

func (m *Message) slot(name string) *slot {
	if m == nil {
		return new(slot)
	}
	return &m.slots[m.schema.named(name)]
}

// Has says that a message, or anything of what is repeated, came.
func (m *Message) Has(name string) bool { return m.slot(name).set }

// Uint is a number, the number of an enumeration's value, or 1 for true.
func (m *Message) Uint(name string) uint64 { return m.slot(name).n }

// Is says that a field is true.
func (m *Message) Is(name string) bool { return m.slot(name).n == 1 }

// Bytes are those of a field, as a part of what was decoded.
func (m *Message) Bytes(name string) []byte { return m.slot(name).b }

// Text is a text, copied.
func (m *Message) Text(name string) string { return string(m.slot(name).b) }

// Value is the name of an enumeration's value; empty for its first.
func (m *Message) Value(name string) string {
	s := m.slot(name)
	if s.n == 0 {
		return ""
	}
	return m.schema.fields[m.schema.named(name)].values[s.n]
}

// Sub is a message; nil, which has no field, if it did not come.
func (m *Message) Sub(name string) *Message {
	if s := m.slot(name); s.set {
		return s.more.sub
	}
	return nil
}

// Numbers are those of a repeated field.
func (m *Message) Numbers(name string) []uint64 {
	if s := m.slot(name); s.set {
		return s.more.nums
	}
	return nil
}

// List are the texts, or bytes, of a repeated field.
func (m *Message) List(name string) [][]byte {
	if s := m.slot(name); s.set {
		return s.more.list
	}
	return nil
}

// Subs are the messages of a repeated field.
func (m *Message) Subs(name string) []*Message {
	if s := m.slot(name); s.set {
		return s.more.subs
	}
	return nil
}

// Clear drops a field.
func (m *Message) Clear(name string) { m.slot(name).set = false }

// Count is how many of the fields of those names came.
func (m *Message) Count(names ...string) (n int) {
	for _, name := range names {
		if m.Has(name) {
			n++
		}
	}
	return n
}

// Time is a time; zero if it did not come.
func (m *Message) Time(name string) time.Time {
	if t := m.Sub(name); t != nil {
		return timeOf(t)
	}
	return time.Time{}
}

// Duration is a duration; 0 if it did not come. One of more than 292 years is cut.
func (m *Message) Duration(name string) time.Duration {
	d := m.Sub(name)
	if d == nil {
		return 0
	}
	seconds := max(min(int64(d.slots[0].n), maxNano), -maxNano)
	return time.Duration(seconds)*time.Second + time.Duration(int64(d.slots[1].n))
}

// maxNano is how many whole seconds fit into a time.Duration.
const maxNano = (1<<63-1)/1_000_000_000 - 1
