package listener

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestDistrustIsToldBeforeTheConnectionGoes: who holds an exchange open learns from
// the caller's credential why it ends, before the caller is gone.
func TestDistrustIsToldBeforeTheConnectionGoes(t *testing.T) {
	entered, leave := make(chan Caller, 1), make(chan struct{})
	told := make(chan error, 1)
	var shown Credential
	gone := make(chan struct{})
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		req.OnGone(func() { close(gone) })
		entered <- req.Caller
		<-leave
		resp.Abort()
	}, func(cfg *Config) {
		cfg.Distrusted = func() {
			select {
			case <-gone:
				told <- errors.New("the caller was gone by then")
			default:
				told <- shown.Check()
			}
		}
	})
	go func() {
		f.client(1).Get("https://llm.azure.mesh/") // it is broken off
	}()
	shown = (<-entered).Credential
	if err := shown.Check(); err != nil || !shown.Expires().After(time.Now()) {
		t.Fatalf("credential: %v, ends at %v", err, shown.Expires())
	}
	f.mesh["onprem.test"].Distrust("onprem.test")
	if err := <-told; !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("told: %v, want ErrUntrusted", err)
	}
	<-gone
	close(leave)
}

// TestCut breaks an exchange off whose caller takes nothing, in each version of HTTP.
func TestCut(t *testing.T) {
	for version := 1; version <= 2; version++ {
		blocked := make(chan error, 1)
		requests := make(chan *Request, 1)
		f := start(t, func(_ context.Context, req *Request, resp Response) {
			if err := resp.WriteHead(&l7.ResponseHead{Status: http.StatusOK}, false); err != nil {
				t.Error(err)
			}
			requests <- req
			for chunk := make([]byte, 1<<20); ; {
				if _, err := resp.Write(chunk); err != nil {
					blocked <- err
					return
				}
			}
		})
		resp, err := f.client(version).Get("https://llm.azure.mesh/")
		if err != nil {
			t.Fatal(err)
		}
		(<-requests).Cut() // nothing is read of the answer
		select {
		case <-blocked:
		case <-time.After(patience):
			t.Fatalf("HTTP/%d: it still waits for a caller that was cut", version)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("HTTP/%d: the caller took it for whole", version)
		}
		resp.Body.Close()
	}
}

// TestTokensAreCredentials: a JWT-SVID stands for as long as its key does.
func TestTokensAreCredentials(t *testing.T) {
	callers := make(chan Caller, 1)
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		callers <- req.Caller
		ok(ctx, req, resp)
	})
	onprem := f.mesh["onprem.test"]
	req, err := http.NewRequest(http.MethodGet, "http://"+f.LoopbackAddr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+onprem.JWT("/orchestrator", f.cfg.Audience))
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	shown := (<-callers).Credential
	if left := time.Until(shown.Expires()); shown.Check() != nil || left < time.Hour || left > time.Hour+2*time.Minute {
		t.Errorf("credential: %v, ends in %v", shown.Check(), left)
	}
	onprem.Distrust("onprem.test")
	if err := shown.Check(); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("once its key is gone: %v, want ErrUntrusted", err)
	}
}
