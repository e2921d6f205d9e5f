package clienthello

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// hello is what a TLS client says first.
func hello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		tls.Client(near, config).Handshake()
		near.Close()
	}()
	defer far.Close()
	raw, _, err := Read(far)
	if err != nil {
		t.Fatalf("hello of crypto/tls: %v", err)
	}
	return raw
}

// asSeen is the server name that crypto/tls finds in what a client says, and
// whether it takes it for a hello.
func asSeen(said []byte) (server string, taken bool) {
	errSeen := errors.New("seen")
	tls.Server(monologue{said: bytes.NewReader(said)}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		server, taken = h.ServerName, true
		return nil, errSeen
	}}).HandshakeContext(context.Background())
	return server, taken
}

// monologue is a connection to a client that says that, ends, and takes whatever
// it is told.
type monologue struct {
	net.Conn
	said *bytes.Reader
}

func (m monologue) Read(p []byte) (int, error)  { return m.said.Read(p) }
func (m monologue) Write(p []byte) (int, error) { return len(p), nil }
func (m monologue) Close() error                { return nil }

func TestReadsWhatClientsSay(t *testing.T) {
	for _, c := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"TLS 1.3", &tls.Config{ServerName: "db.azure.mesh", MinVersion: tls.VersionTLS13}, "db.azure.mesh"},
		{"TLS 1.2", &tls.Config{ServerName: "db.azure.mesh", MaxVersion: tls.VersionTLS12}, "db.azure.mesh"},
		{"TLS 1.0", &tls.Config{ServerName: "db.azure.mesh", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "db.azure.mesh"},
		{"other letters", &tls.Config{ServerName: "DB.Azure.mesh"}, "db.azure.mesh"},
		{"protocols", &tls.Config{ServerName: "db.azure.mesh", NextProtos: []string{"h2", "http/1.1"}}, "db.azure.mesh"},
		{"no name", &tls.Config{InsecureSkipVerify: true}, ""},
		{"an address", &tls.Config{ServerName: "10.0.0.1"}, ""}, // crypto/tls does not send it
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config.MaxVersion == tls.VersionTLS10 && fips140.Enabled() {
				t.Skip("crypto/tls does not speak TLS 1.0 in FIPS 140-3 mode")
			}
			raw := hello(t, c.config)
			after := "what follows"
			r := strings.NewReader(string(raw) + after)
			again, server, err := Read(iotest.OneByteReader(r))
			rest, _ := io.ReadAll(r)
			if err != nil || server != c.want || !bytes.Equal(again, raw) || string(rest) != after {
				t.Errorf("server %q, %v; left %q, %d bytes of %d", server, err, rest, len(again), len(raw))
			}
			if seen, ok := asSeen(raw); !ok || !strings.EqualFold(seen, c.want) {
				t.Errorf("crypto/tls sees %q, %t", seen, ok)
			}
		})
	}
}

// split spreads a hello's message over records of that size.
func split(raw []byte, size int) []byte {
	message := raw[recordHeader:]
	var out []byte
	for part := range slices.Chunk(message, size) {
		out = append(out, typeHandshake, 3, 1)
		out = binary.BigEndian.AppendUint16(out, uint16(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestSeveralRecords(t *testing.T) {
	raw := hello(t, &tls.Config{ServerName: "db.azure.mesh"})
	for _, size := range []int{1, 3, 4, 5, 100, 1000} {
		parts := split(raw, size)
		got, server, err := Read(bytes.NewReader(parts))
		if err != nil || server != "db.azure.mesh" || !bytes.Equal(got, parts) {
			t.Errorf("records of %d bytes: %q, %v", size, server, err)
		}
	}
}

// shaped is a hello of that body.
func shaped(body []byte) []byte {
	message := append([]byte{typeClientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	return split(append(make([]byte, recordHeader), message...), maxRecord)
}

// fixed is a hello's body up to its extensions.
func fixed() []byte {
	b := append([]byte{3, 3}, make([]byte, 32)...)
	return append(b, 0, 0, 2, 0x13, 1, 1, 0)
}

// with is a hello with those extensions.
func with(extensions ...[]byte) []byte {
	all := bytes.Join(extensions, nil)
	return shaped(append(binary.BigEndian.AppendUint16(fixed(), uint16(len(all))), all...))
}

func extension(kind uint16, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

func named(host string) []byte {
	return extension(extServerName, string(binary.BigEndian.AppendUint16(nil, uint16(len(host)+3)))+"\x00"+
		string(binary.BigEndian.AppendUint16(nil, uint16(len(host))))+host)
}

func TestRefuses(t *testing.T) {
	good := hello(t, &tls.Config{ServerName: "db.azure.mesh"})
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	large := binary.BigEndian.AppendUint16(fixed(), 0xffff)
	for _, c := range []struct {
		name string
		said []byte
		want string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "do not begin a handshake record"},
		{"SSH", []byte("SSH-2.0-OpenSSH"), "do not begin a handshake record"},
		{"SSL 2.0", []byte{0x80, 0x2e, 1, 0, 2, 0, 0}, "do not begin a handshake record"},
		{"application data", changed(0, 23), "do not begin a handshake record"},
		{"another protocol's version", changed(1, 1), "do not begin a handshake record"},
		{"a ServerHello", changed(5, 2), "type 2"},
		{"an empty record", []byte{22, 3, 1, 0, 0, 22}, "a record of 0 bytes"},
		{"a record that is too long", []byte{22, 3, 1, 0x40, 1}, "a record of 16385 bytes"},
		{"a message that is too long", []byte{22, 3, 1, 0, 4, 1, 2, 0, 0}, "more than 65536 bytes"},
		{"more than it may take", split(append(make([]byte, recordHeader), append([]byte{1, 1, 0, 0}, make([]byte, 1<<16)...)...), maxRecord), "more than 65536 bytes"},
		{"something behind it", append(changed(4, good[4]+1), 0), "something follows"},
		{"another record in between", append(bytes.Clone(split(good, 100)[:105]), 21, 3, 1, 0, 2, 1, 0), "do not begin a handshake record"},
		{"an empty body", shaped(nil), "fields"},
		{"a long session id", shaped(append(append([]byte{3, 3}, make([]byte, 32)...), 33)), "fields"},
		{"extensions beyond its end", shaped(large), "extensions"},
		{"bytes behind its extensions", shaped(append(append(fixed(), 0, 0), 0)), "extensions"},
		{"half an extension", with([]byte{0, 0, 0}), "cut off"},
		{"two names", with(named("a.mesh"), named("b.mesh")), "twice"},
		{"two extensions of one type", with(extension(16, ""), extension(16, "")), "twice"},
		{"an extension behind the pre-shared key", with(extension(extPreSharedKey, "x"), named("a.mesh")), "follows the pre-shared key"},
		{"no name in the list", with(extension(extServerName, "\x00\x00")), "not one host name"},
		{"an empty name", with(named("")), "no host name"},
		{"two names in the list", with(extension(extServerName, "\x00\x08\x00\x00\x01a\x00\x00\x01b")), "not one host name"},
		{"another kind of name", with(extension(extServerName, "\x00\x04\x01\x00\x01a")), "not one host name"},
		{"bytes behind the list", with(extension(extServerName, "\x00\x04\x00\x00\x01ab")), "not one host name"},
		{"a dot at the end", with(named("a.mesh.")), "no host name"},
		{"an address", with(named("10.0.0.1")), "no host name"},
		{"an address of IPv6", with(named("::1")), "no host name"},
		{"a zero byte", with(named("a.mesh\x00.evil")), "no host name"},
		{"a space", with(named("a mesh")), "no host name"},
		{"a name that is too long", with(named(strings.Repeat("a", 256))), "no host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, server, err := Read(bytes.NewReader(c.said))
			if !errors.Is(err, Err) || !strings.Contains(err.Error(), c.want) || server != "" {
				t.Errorf("server %q, %v, want %q", server, err, c.want)
			}
		})
	}
	if _, server, err := Read(bytes.NewReader(with(named("a.mesh")))); err != nil || server != "a.mesh" {
		t.Errorf("a good one: %q, %v", server, err)
	}
	if _, server, err := Read(bytes.NewReader(shaped(fixed()))); err != nil || server != "" {
		t.Errorf("one without extensions: %q, %v", server, err)
	}
}

// TestCutOff: an end is the reader's error, and nothing at all is no hello that
// was cut.
func TestCutOff(t *testing.T) {
	raw := split(hello(t, &tls.Config{ServerName: "db.azure.mesh"}), 100)
	for n := range raw {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		got, _, err := Read(bytes.NewReader(raw[:n]))
		if !errors.Is(err, want) || !bytes.Equal(got, raw[:n]) {
			t.Fatalf("%d bytes: read %d, %v, want %v", n, len(got), err, want)
		}
	}
	broken := errors.New("broken")
	if _, _, err := Read(io.MultiReader(bytes.NewReader(raw[:7]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader's error: %v", err)
	}
}

// FuzzRead: whatever a client says, what is taken for a hello is read as
// crypto/tls reads it, and no byte is lost.
func FuzzRead(f *testing.F) {
	for _, config := range []*tls.Config{
		{ServerName: "db.azure.mesh"},
		{InsecureSkipVerify: true},
		{ServerName: "a.b", MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}},
	} {
		raw := hello(f, config)
		f.Add(raw)
		f.Add(split(raw, 200))
	}
	f.Add(with(named("a.mesh"), extension(extPreSharedKey, "x")))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		raw, server, err := Read(bytes.NewReader(said))
		if !bytes.HasPrefix(said, raw) || len(raw) > Max {
			t.Fatalf("read %d bytes that are not those said", len(raw))
		}
		if err != nil {
			if server != "" {
				t.Errorf("server %q of no hello: %v", server, err)
			}
			return
		}
		if seen, taken := asSeen(raw); taken && !strings.EqualFold(seen, server) {
			t.Errorf("server %q, crypto/tls sees %q", server, seen)
		}
	})
}

// FuzzOfCryptoTLS: every hello that crypto/tls makes is read, however it is spread
// over records.
func FuzzOfCryptoTLS(f *testing.F) {
	f.Add("db.azure.mesh", "h2", uint16(tls.VersionTLS13), 7)
	f.Add("A.b", "", uint16(tls.VersionTLS12), 1<<14)
	f.Fuzz(func(t *testing.T, host, proto string, version uint16, size int) {
		if !isHost(host) || strings.Contains(host, "..") || len(proto) > 255 || size < 1 || size > maxRecord ||
			version < tls.VersionTLS10 || version > tls.VersionTLS13 {
			return
		}
		config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS10, MaxVersion: version}
		if proto != "" {
			config.NextProtos = []string{proto}
		}
		raw := split(hello(t, config), size)
		if len(raw) > Max {
			return
		}
		if _, server, err := Read(bytes.NewReader(raw)); err != nil || server != strings.ToLower(host) {
			t.Errorf("server %q, %v, want %q", server, err, host)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	raw := hello(b, &tls.Config{ServerName: "db.azure.mesh", NextProtos: []string{"h2", "http/1.1"}})
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Read(bytes.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
