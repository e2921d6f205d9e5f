package exchange

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// rawWorld is a world in which the agent may open byte streams to the llm.
func rawWorld(t *testing.T, stranger func(*net.TCPConn)) *world {
	t.Helper()
	w := newWorld(t, policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Intents = []*policyv1.Intent{{Name: "raw", Allow: &policyv1.Match{From: "agent", To: "llm", Service: "chat"}}}
	}))
	w.stranger = stranger
	return w
}

// echo answers once the caller has ended.
func echo(c *net.TCPConn) {
	defer c.Close()
	said, err := io.ReadAll(c)
	if err == nil {
		io.WriteString(c, "you said "+string(said))
	}
}

func TestConnect(t *testing.T) {
	w := rawWorld(t, echo)
	r := w.ask(t, request("CONNECT", "", "hello"))
	if r.head.Status != 200 || r.body.String() != "you said hello" || !r.ended || r.aborted {
		t.Errorf("status %d: %q, ended %t", r.head.Status, r.body.String(), r.ended)
	}
	w.journal.before(t, "near open", "far open")
	w.journal.before(t, "far open", "destination asked")
	rec := w.joined(t)
	if !rec.GetAgree() || rec.GetOperation().GetName() != "CONNECT" || rec.GetEgress().GetContentSeen() ||
		rec.GetEgress().GetRequestBytes() != 5 || rec.GetIngress().GetResponseBytes() != 14 {
		t.Errorf("record %v", rec)
	}
}

// TestConnectEndsAsItEnded: each gateway's half says who broke a byte stream off,
// and nobody is shown a good end that was none.
func TestConnectEndsAsItEnded(t *testing.T) {
	endless := breaking{strings.NewReader("half"), io.ErrUnexpectedEOF}
	tests := []struct {
		name     string
		stranger func(*net.TCPConn)
		caller   io.ReadCloser
		gone     bool // the caller takes nothing
		want     crossingv1.Cause
	}{
		{
			name: "the destination resets", caller: io.NopCloser(neverEnds{}),
			stranger: func(c *net.TCPConn) {
				c.Read(make([]byte, 1)) // or connecting to it may fail
				c.SetLinger(0)
				c.Close()
			},
			want: crossingv1.Cause_DESTINATION_FAILED,
		},
		{
			name: "the caller breaks off", caller: endless,
			stranger: func(c *net.TCPConn) {
				defer c.Close()
				if _, err := io.ReadAll(c); err == nil {
					t.Error("the destination was shown a good end")
				}
			},
			want: crossingv1.Cause_CALLER_GONE,
		},
		{
			name: "the caller takes nothing", caller: io.NopCloser(neverEnds{}), gone: true,
			stranger: func(c *net.TCPConn) { defer c.Close(); io.Copy(c, c) },
			want:     crossingv1.Cause_CALLER_GONE,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := rawWorld(t, tt.stranger)
			req := request("CONNECT", "", "")
			stop := make(chan struct{})
			req.Body = &interruptible{tt.caller, stop}
			r := w.askInto(t, req, &reply{journal: w.journal, goneAfterHead: tt.gone})
			if !r.aborted || r.ended {
				t.Errorf("aborted %t, ended %t", r.aborted, r.ended)
			}
			e, i := w.near.account(t), w.far.account(t)
			if e.Close.GetCause() != tt.want || i.Close.GetCause() != tt.want {
				t.Errorf("near %s, far %s, want %s", e.Close.GetCause(), i.Close.GetCause(), tt.want)
			}
		})
	}
}

// neverEnds says a little again and again.
type neverEnds struct{}

func (neverEnds) Read(p []byte) (int, error) { return copy(p, "more"), nil }

// interruptible is a body whose Close makes Read fail.
type interruptible struct {
	io.ReadCloser
	closed chan struct{}
}

func (i *interruptible) Read(p []byte) (int, error) {
	select {
	case <-i.closed:
		return 0, net.ErrClosed
	default:
		return i.ReadCloser.Read(p)
	}
}

func (i *interruptible) Close() error {
	close(i.closed)
	return nil
}

func TestConnectIsRefused(t *testing.T) {
	t.Run("nobody there", func(t *testing.T) {
		w := rawWorld(t, nil)
		r := w.ask(t, request("CONNECT", "", "hello"))
		if r.head.Status/100 != 5 || !strings.Contains(r.body.String(), "UNREACHABLE") {
			t.Errorf("status %d: %s", r.head.Status, r.body.String())
		}
		e, i := w.near.account(t), w.far.account(t)
		if e.Close.GetCause() != crossingv1.Cause_REFUSED_BY_PEER || i.Close.GetCause() != crossingv1.Cause_DESTINATION_FAILED {
			t.Errorf("near %s, far %s", e.Close.GetCause(), i.Close.GetCause())
		}
		if i.Close.GetDetail() == "" || e.Close.GetDetail() != "" {
			t.Errorf("why nobody is there: near %q, far %q, want it at the far end alone", e.Close.GetDetail(), i.Close.GetDetail())
		}
	})
	for name, answer := range map[string]*l7.ResponseHead{
		"another status": {Status: 201}, "nothing follows": {Status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := rawWorld(t, nil)
			w.tunnel.serve = func(s tunnel.Stream) {
				defer close(w.served)
				l7.NewFrameReader(s).Next()
				l7.NewFrameWriter(s).ResponseHead(answer, answer.Status == 200)
				<-s.Done()
			}
			if r := w.ask(t, request("CONNECT", "", "hello")); r.head.Status/100 != 5 {
				t.Errorf("status %d", r.head.Status)
			}
			if c := w.near.account(t).Close.GetCause(); c != crossingv1.Cause_PROTOCOL_ERROR {
				t.Errorf("cause %s", c)
			}
		})
	}
}
