package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

var (
	inner = New("Inner", Text(1, "name"), Uint64(2, "n"))
	outer = New("Outer",
		Text(1, "text"), Bytes(2, "bytes"), Uint32(3, "small"), Uint64(4, "large"), Int64(5, "signed"), Bool(6, "is"),
		Enum(7, "kind", []string{"NONE", "ONE"}), Sub(8, "inner", inner), Many(Sub(9, "inners", inner)), Many(Uint64(10, "numbers")),
		Many(Text(11, "texts")), Sub(12, "at", Time), Optional(Uint32(14, "asked")), Optional(Uint64(15, "paid")), Sub(20, "took", Duration))
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDecode: what is encoded in some way is read, and written in the one way.
func TestDecode(t *testing.T) {
	for _, c := range []struct{ name, encoded, want, json string }{
		{"nothing", "", "", `{}`},
		{"defaults", "0a00 1200 1800 2000 3000 3800", "", `{}`},
		{
			"one of each", "0a0161 120162 1801 2002 2803 3001 3801", "0a0161 120162 1801 2002 2803 3001 3801",
			`{"text":"a","bytes":"Yg==","small":1,"large":"2","signed":"3","is":true,"kind":"ONE"}`,
		},
		{"zeros that are values", "7000 7800", "7000 7800", `{"asked":0,"paid":"0"}`},
		{"one that became zero", "7005 7000", "7000", `{"asked":0}`},
		{"another order", "2002 0a0161", "0a0161 2002", `{"text":"a","large":"2"}`},
		{"one that comes again", "2002 2003", "2003", `{"large":"3"}`},
		{"a longer number", "20828000", "2002", `{"large":"2"}`},
		{"32 bits of more", "18 8180808010", "1801", `{"small":1}`},
		{"a message in two parts", "42030a0161 42021005", "42050a01611005", `{"inner":{"name":"a","n":"5"}}`},
		{"an empty message", "4200", "4200", `{"inner":{}}`},
		{"messages", "4a00 4a021001", "4a00 4a021001", `{"inners":[{},{"n":"1"}]}`},
		{"numbers unpacked", "5001 5002", "52020102", `{"numbers":["1","2"]}`},
		{"numbers in both ways", "5001 52020304", "5203010304", `{"numbers":["1","3","4"]}`},
		{"texts", "5a00 5a0161", "5a00 5a0161", `{"texts":["","a"]}`},
		{"below 0", "28 ffffffffffffffffff01", "28 ffffffffffffffffff01", `{"signed":"-1"}`},
		{"a time", "6206 08 80c8afb005", "6206 08 80c8afb005", `{"at":"2015-09-30T13:30:40Z"}`},
		{"a part of a second", "6205 10 80ade204", "6205 10 80ade204", `{"at":"1970-01-01T00:00:00.010Z"}`},
		{"a duration below 0", "a2010b 08 ffffffffffffffffff01", "a2010b 08 ffffffffffffffffff01", `{"took":"-1s"}`},
	} {
		m, err := Decode(outer, unhex(t, c.encoded))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := m.Encode(); !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s: encoded as %x, want %s", c.name, got, c.want)
		}
		if got, err := json.Marshal(m); err != nil || string(got) != c.json {
			t.Errorf("%s: JSON %s (%v), want %s", c.name, got, err, c.json)
		}
	}
}

// TestRefused: what is not known or not whole is refused, at any depth.
func TestRefused(t *testing.T) {
	for name, encoded := range map[string]string{
		"a field that is not known":         "6801",
		"a deeper one":                      "42021801",
		"one of a high number":              "fa ff ff ff 0f 00",
		"another wire type":                 "0801",
		"a number as bytes":                 "2200",
		"a group":                           "0b 0c",
		"a fixed width":                     "2100000000 00000000",
		"a value that is not known":         "3802",
		"a value below 0":                   "38 ffffffffffffffffff01",
		"a text that is not UTF-8":          "0a01ff",
		"a text that is too long":           "0a8120" + strings.Repeat("61", MaxText+1),
		"a length behind the end":           "0a0261",
		"a length of all there is":          "12ffffffffffffffffff01",
		"a number that does not end":        "20ff",
		"a number of more than 64 bits":     "20ffffffffffffffffff02",
		"a number of more than ten bytes":   "20ffffffffffffffffffff01",
		"a tag that does not end":           "80",
		"packed numbers that do not end":    "5201ff",
		"a time after the year 9999":        "6206 08 80c8afb0f501",
		"a second of more than 10^9 nanos":  "6206 10 8094ebdc03",
		"a duration of both signs":          "a2010d 0801 10 ffffffffffffffffff01",
		"a duration of more than 10^4 year": "a20107 08 8180809eca0b 00",
	} {
		if m, err := Decode(outer, unhex(t, encoded)); err == nil {
			t.Errorf("%s: taken as %x", name, m.Encode())
		}
	}
}

// TestValues: by name, and none where none came.
func TestValues(t *testing.T) {
	b := unhex(t, "0a0161 3001 3801 42021005 5001 5a0162")
	b = append(b, 0x62, 6, 0x08)
	b = binary.AppendUvarint(b, 1_800_000_000)
	m, err := Decode(outer, append(b, 0xa2, 1, 2, 8, 3))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case m.Text("text") != "a" || !m.Is("is") || m.Value("kind") != "ONE" || m.Sub("inner").Uint("n") != 5:
		t.Error("a value is another")
	case m.Numbers("numbers")[0] != 1 || string(m.List("texts")[0]) != "b" || m.Subs("inners") != nil:
		t.Error("a list is another")
	case !m.Time("at").Equal(time.Unix(1_800_000_000, 0)) || m.Duration("took") != 3*time.Second:
		t.Error("a time is another")
	case m.Count("text", "bytes", "is") != 2:
		t.Error("the count is another")
	}
	var none *Message
	if none.Has("text") || none.Text("text") != "" || none.Sub("inner").Uint("n") != 0 || !none.Time("at").IsZero() {
		t.Error("nothing has something")
	}
	if m.Has("asked") {
		t.Error("what did not come is there")
	}
	if zero, err := Decode(outer, unhex(t, "7000")); err != nil || !zero.Has("asked") || zero.Uint("asked") != 0 {
		t.Errorf("a zero that came is not there, %v", err)
	}
	m.Clear("text")
	if m.Has("text") || m.Encode()[0] == 0x0a {
		t.Error("what was cleared is there")
	}
}

// TestLongDuration: one of more than time.Duration has is cut.
func TestLongDuration(t *testing.T) {
	b := binary.AppendUvarint([]byte{0xa2, 1, 7, 8}, 315_576_000_000)
	b[2] = byte(len(b) - 3)
	m, err := Decode(outer, b)
	if err != nil || m.Duration("took") < math.MaxInt64-2*time.Second {
		t.Errorf("%v, %v", m.Duration("took"), err)
	}
}

// TestWrongName: a field that a table does not have is a fault of the program.
func TestWrongName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a field that is none has a value")
		}
	}()
	NewMessage(outer).Text("nothing")
}

// FuzzDecode: what is read is written in one way, which is read as the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x42, 3, 0x0a, 1, 'a', 0x52, 2, 3, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(outer, data)
		if err != nil {
			return
		}
		once := m.Encode()
		again, err := Decode(outer, once)
		if err != nil || !bytes.Equal(again.Encode(), once) {
			t.Errorf("%x is written as %x, and that as %x (%v)", data, once, again.Encode(), err)
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
	})
}
