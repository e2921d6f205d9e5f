package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

var (
	agent  = spiffeid.RequireFromString("spiffe://onprem.test/ai/agent")
	legacy = spiffeid.RequireFromString("spiffe://onprem.test/legacy")
)

func caller(t *testing.T, id spiffeid.ID, selectors ...string) Caller {
	t.Helper()
	c := Caller{ID: id}
	for _, text := range selectors {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Selectors = append(c.Selectors, s)
	}
	return c
}

func TestParseSelector(t *testing.T) {
	for _, text := range []string{"unix:uid:0", "unix:uid:1000", "unix:uid:4294967295", "cgroup:/a", "cgroup:/system.slice/agent.service"} {
		if s, err := ParseSelector(text); err != nil || s.String() != text {
			t.Errorf("ParseSelector(%q) = %v, %v", text, s, err)
		}
	}
	for _, text := range []string{
		"", "unix", "unix:uid:", "unix:uid:root", "unix:uid:-1", "unix:uid:+1", "unix:uid:01", "unix:uid:4294967296", "unix:uid:1 ",
		"unix:gid:0", "Unix:uid:0", "cgroup:", "cgroup:/", "cgroup:a", "cgroup:/a/", "cgroup:/a/../b", "cgroup://a", "cgroup:/a\x00b", "cgroup:/..",
	} {
		if s, err := ParseSelector(text); err == nil {
			t.Errorf("ParseSelector(%q) = %v", text, s)
		}
	}
}

func FuzzParseSelector(f *testing.F) {
	f.Add("unix:uid:1000")
	f.Add("cgroup:/system.slice/agent.service")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if err != nil {
			if s != (Selector{}) {
				t.Errorf("%v beside %v", s, err)
			}
			return
		}
		if s.String() != text {
			t.Errorf("%q is %q again", text, s)
		}
		if strings.Contains(s.cgroup+"/", "/../") {
			t.Errorf("%q leaves the cgroups", text)
		}
	})
}

func TestOf(t *testing.T) {
	two := []Caller{
		caller(t, agent, "unix:uid:1000"),
		caller(t, agent, "unix:uid:1001"),
		caller(t, legacy, "unix:uid:1002"),
		caller(t, legacy, "unix:uid:1003"),
		caller(t, agent, "unix:uid:1003"),
		caller(t, agent, "unix:uid:1004"),
		caller(t, agent, "unix:uid:1004", "unix:uid:1004"),
		caller(t, legacy, "unix:uid:1005", "unix:uid:1006"),
		caller(t, legacy, "unix:uid:1007", "cgroup:/there-is-no-such"),
		{ID: legacy},
	}
	c := &Callers{all: two}
	for uid, want := range map[uint32]struct {
		id  spiffeid.ID
		err error
	}{
		0: {err: ErrNobody}, 1000: {id: agent}, 1001: {id: agent}, 1002: {id: legacy}, 1003: {err: ErrSeveral},
		1004: {id: agent}, 1005: {err: ErrNobody}, 1006: {err: ErrNobody}, 1007: {err: ErrNobody}, 1008: {err: ErrNobody},
	} {
		id, err := c.of(localpeer.Peer{UID: uid})
		if id != want.id || !errors.Is(err, want.err) {
			t.Errorf("user %d is %q, %v; want %q, %v", uid, id, err, want.id, want.err)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprint(uid)) {
			t.Errorf("%v does not say who", err)
		}
	}
}

// pair is both ends of a connection of this process.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// TestKernel: the kernel's word on a connection of this process.
func TestKernel(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	me := fmt.Sprint("unix:uid:", os.Getuid())
	c, err := New([]Caller{caller(t, agent, me)})
	if err != nil {
		t.Fatal(err)
	}
	client, server := pair(t)
	if id, err := c.Of(server); id != agent || err != nil {
		t.Errorf("this process is %q, %v", id, err)
	}
	client.Close()
	if n, err := server.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if id, err := c.Of(server); !errors.Is(err, localpeer.ErrUnknown) || !id.IsZero() {
		t.Errorf("who has gone is %q, %v", id, err)
	}
	if _, err := New([]Caller{caller(t, agent, me, "cgroup:/x")}); err != nil && !strings.Contains(err.Error(), "cgroup") {
		t.Errorf("New = %v", err)
	}
}
