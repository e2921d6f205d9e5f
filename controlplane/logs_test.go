package controlplane

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
)

// TestLogsAreServed: who follows the logs reads them over HTTP, for as long as the control
// plane runs.
func TestLogsAreServed(t *testing.T) {
	p := newPlane(t)
	if addr := p.cp.LogAddr(); addr != nil {
		t.Errorf("logs are served at %v, and nobody has asked for it", addr)
	}
	p.stop()
	p.config.LogListen = "127.0.0.1:0"
	p.start()
	p.publish(1, "")
	p.deliverBoth()
	url := "http://" + p.cp.LogAddr().String() + "/onprem.demo/checkpoint"
	want := translog.OriginOf("onprem.demo") + "\n"
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		status, text, err := get(url)
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusOK && strings.HasPrefix(text, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, %q, want a checkpoint that begins with %q", url, status, text, want)
		}
	}
	p.stop()
	if status, text, err := get(url); err == nil {
		t.Errorf("served after the control plane has ended: %d, %q", status, text)
	}
}

func get(url string) (status int, text string, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
