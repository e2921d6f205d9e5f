package exchange

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/clienthello"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// served is a policy under which the agent may call the llm's chat, which is served so.
func servedAs(t *testing.T, serial uint64, service string) *policy.Policy {
	t.Helper()
	return policytest.Estate(t, serial, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = service
		p.Intents = []*policyv1.Intent{{Name: "raw", Allow: &policyv1.Match{From: "agent", To: "llm", Service: "chat"}}}
	})
}

// tlsWorld is a world in which the agent may call the llm by TLS.
func tlsWorld(t *testing.T, stranger func(*net.TCPConn)) *world {
	t.Helper()
	w := newWorld(t, servedAs(t, 1, "tls://db.example.com:8000"))
	w.stranger = stranger
	return w
}

// hello is what a TLS client says first that wants that server.
func hello(t *testing.T, server string) string {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		tls.Client(near, &tls.Config{ServerName: server, InsecureSkipVerify: true}).Handshake()
		near.Close()
	}()
	defer far.Close()
	raw, _, err := clienthello.Read(far)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// givenAway is a reply whose caller has a bare connection.
type givenAway struct {
	*reply
	to listener.Detached
}

func (g *givenAway) Detach(d listener.Detached) bool {
	g.to = d
	return true
}

// both ways in which a caller may be there: with a bare connection and without.
func bothWays(t *testing.T, test func(t *testing.T, call func(t *testing.T, w *world, said string) (heard string, broken bool))) {
	t.Run("copied", func(t *testing.T) {
		test(t, func(t *testing.T, w *world, said string) (string, bool) {
			r := w.ask(t, request("CONNECT", "", said))
			return r.body.String(), r.aborted
		})
	})
	for name, early := range map[string]int{"bare": 0, "bare, begun early": 100, "bare, all of it early": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, w *world, said string) (string, bool) {
				early := min(early, len(said))
				return callBare(t, w, said[:early], said[early:])
			})
		})
	}
}

func callBare(t *testing.T, w *world, early, late string) (heard string, broken bool) {
	t.Helper()
	caller, local := tunneltest.TCPPair(t)
	r := &givenAway{reply: &reply{journal: w.journal}}
	w.egress.ServeExchange(t.Context(), request("CONNECT", "", ""), r)
	over := make(chan struct{})
	go r.to.Serve(local, []byte(early), func() { local.Close(); close(over) })
	if late != "" { // to write nothing would take the reset's error away from who reads
		io.WriteString(caller, late)
	}
	caller.CloseWrite()
	b, err := io.ReadAll(caller)
	<-over
	<-w.served
	return string(b), err != nil
}

func TestTLSPasses(t *testing.T) {
	bothWays(t, func(t *testing.T, call func(*testing.T, *world, string) (string, bool)) {
		for _, server := range []string{"llm.far.mesh", "LLM.far.mesh", "db.example.com"} {
			w := tlsWorld(t, echo)
			said := hello(t, server) + "and more"
			heard, broken := call(t, w, said)
			if heard != "you said "+said || broken {
				t.Errorf("%s: heard %d bytes, broken %t", server, len(heard), broken)
			}
			rec := w.joined(t)
			if !rec.GetAgree() || rec.GetOperation().GetName() != "CONNECT" || rec.GetOperation().GetProtocol() != "tls" ||
				rec.GetEgress().GetContentSeen() || rec.GetIngress().GetContentSeen() || rec.GetEgress().GetDetail() != "" ||
				rec.GetEgress().GetRequestBytes() != uint64(len(said)) || rec.GetIngress().GetRequestBytes() != uint64(len(said)) {
				t.Errorf("%s: record %v", server, rec)
			}
		}
	})
}

// nothing holds that a destination is sent nothing, and shown no good end.
func nothing(t *testing.T) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		defer c.Close()
		if b, err := io.ReadAll(c); err == nil || len(b) > 0 {
			t.Errorf("the destination got %d bytes and %v", len(b), err)
		}
	}
}

func TestTLSIsRefused(t *testing.T) {
	for _, c := range []struct{ name, said, detail string }{
		{"another server", hello(t, "other.far.mesh"), "the ClientHello is for other.far.mesh, want llm.far.mesh"},
		{"no server", hello(t, ""), "the ClientHello names no server, want llm.far.mesh"},
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", "do not begin a handshake record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, call func(*testing.T, *world, string) (string, bool)) {
				w := tlsWorld(t, nothing(t))
				heard, broken := call(t, w, c.said)
				if heard != "" || !broken {
					t.Errorf("the caller heard %q, broken %t", heard, broken)
				}
				w.journal.before(t, "near open", "near close")
				e, i := w.near.account(t), w.far.account(t)
				if e.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR || e.Close.GetReason() != crossingv1.Reason_MALFORMED ||
					!strings.Contains(e.Close.GetDetail(), c.detail) || e.Close.GetRequestBytes() != 0 {
					t.Errorf("near %v", e.Close)
				}
				if i.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR || i.Close.GetRequestBytes() != 0 {
					t.Errorf("far %v", i.Close)
				}
				if rec := w.joined(t); !strings.Contains(rec.GetEgress().GetDetail(), c.detail) || !rec.GetAgree() {
					t.Errorf("record %v", rec)
				}
			})
		})
	}
}

// TestTLSCallerGoes: who ends before the hello has gone away, and nothing of it
// is shown to the destination.
func TestTLSCallerGoes(t *testing.T) {
	bothWays(t, func(t *testing.T, call func(*testing.T, *world, string) (string, bool)) {
		for _, said := range []string{"", hello(t, "llm.far.mesh")[:50]} {
			w := tlsWorld(t, nothing(t))
			if heard, broken := call(t, w, said); heard != "" || !broken {
				t.Errorf("the caller heard %q, broken %t", heard, broken)
			}
			e, i := w.near.account(t), w.far.account(t)
			if e.Close.GetCause() != crossingv1.Cause_CALLER_GONE || i.Close.GetCause() != crossingv1.Cause_CALLER_GONE {
				t.Errorf("near %v, far %v", e.Close, i.Close)
			}
		}
	})
}

// TestTLSIsReadAtBothGateways: a peer that lets through what is no TLS, or ends
// before it, does not get it past the ingress gateway.
func TestTLSIsReadAtBothGateways(t *testing.T) {
	for _, c := range []struct{ name, said, detail string }{
		{"another server", hello(t, "other.far.mesh"), "the ClientHello is for other.far.mesh"},
		{"another protocol", "SSH-2.0-x", "do not begin a handshake record"},
		{"nothing", "", "the stream ended before its ClientHello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, servedAs(t, 1, "tcp://:8000")) // as near has it
			w.there = servedAs(t, 2, "tls://:8000")
			w.stranger = nothing(t)
			req := request("CONNECT", "", "")
			req.Body = &interruptible{io.NopCloser(strings.NewReader(c.said)), make(chan struct{})}
			if r := w.askInto(t, req, &reply{journal: w.journal}); !r.aborted || r.body.Len() > 0 {
				t.Errorf("aborted %t, heard %q", r.aborted, r.body.String())
			}
			i := w.far.account(t)
			if i.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR || i.Close.GetReason() != crossingv1.Reason_MALFORMED ||
				!strings.Contains(i.Close.GetDetail(), c.detail) || i.Close.GetRequestBytes() != 0 {
				t.Errorf("far %v", i.Close)
			}
			if e := w.near.account(t); e.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR {
				t.Errorf("near %v", e.Close)
			}
		})
	}
}

// silent says nothing until it is closed.
type silent struct{ closed chan struct{} }

func (s silent) Read([]byte) (int, error) {
	<-s.closed
	return 0, net.ErrClosed
}

func (s silent) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// TestTLSHasToBegin: a caller who says nothing is not waited for.
func TestTLSHasToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tlsWorld(t, nil)
		near, far := net.Pipe()
		defer far.Close()
		w.plugged = near
		req := request("CONNECT", "", "")
		req.Body = silent{make(chan struct{})}
		if r := w.ask(t, req); !r.aborted {
			t.Error("not aborted")
		}
		e, i := w.near.account(t), w.far.account(t)
		if e.Close.GetReason() != crossingv1.Reason_MALFORMED || e.Close.GetDetail() != string(errNoHello) ||
			e.Close.GetDuration().AsDuration() != helloTimeout || i.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR {
			t.Errorf("near %v, far %v", e.Close, i.Close)
		}
	})
	// A bare connection has a deadline instead.
	if _, err := readHello(iotest.ErrReader(os.ErrDeadlineExceeded), nil); !errors.Is(err, errNoHello) {
		t.Errorf("a deadline that passed is %v", err)
	}
}

// TestTLSTakesNoRequests: what is called by TLS is not called by HTTP.
func TestTLSTakesNoRequests(t *testing.T) {
	w := tlsWorld(t, nothing(t))
	r := w.ask(t, request("GET", "/", ""))
	if r.head.Status != 400 || !strings.Contains(r.body.String(), "MALFORMED") {
		t.Errorf("status %d: %s", r.head.Status, r.body.String())
	}
	w.journal.never(t, "destination asked")
}

// polite is a caller who says nothing until it has the answer to its CONNECT.
type polite struct {
	io.ReadCloser
	t     *testing.T
	reply *reply
}

func (p polite) Read(b []byte) (int, error) {
	if !p.reply.flushed {
		p.t.Error("the answer is held while the caller waits for it")
	}
	return p.ReadCloser.Read(b)
}

// TestConnectIsAnsweredAtOnce: whoever waits for the answer gets it, however the
// listener holds heads.
func TestConnectIsAnsweredAtOnce(t *testing.T) {
	for name, w := range map[string]*world{"bytes": rawWorld(t, echo), "TLS": tlsWorld(t, echo)} {
		t.Run(name, func(t *testing.T) {
			said := hello(t, "llm.far.mesh")
			r := &reply{journal: w.journal}
			req := request("CONNECT", "", said)
			req.Body = polite{req.Body, t, r}
			if w.askInto(t, req, r); r.body.String() != "you said "+said || r.aborted {
				t.Errorf("heard %d bytes, broken %t", r.body.Len(), r.aborted)
			}
		})
	}
}
