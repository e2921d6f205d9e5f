package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Workload is a workload of the deployment, which runs beside its gateway.
type Workload struct {
	// Name is that of the policy, and of its user.
	Name string
	// Environment is the name of its host.
	Environment string
	// URL is where others call it.
	URL string
}

// Workloads are those of the deployment.
var Workloads = []Workload{
	{"orchestrator", "onprem", "http://orchestrator.onprem.mesh:8000"},
	{"retriever", "aws", "http://retriever.aws.mesh:8000"},
	{"llm", "azure", "http://llm.azure.mesh:8000"},
}

// startWorkloads starts each as its user.
func (m *Mesh) startWorkloads() {
	m.t.Helper()
	for _, w := range Workloads {
		h := m.At(w.Environment)
		h.Run(m.t, "install -d -o "+w.Name+" /run/workloads/"+w.Name)
		h.Start(m.t, w.Name, w.Name, "workload", "--workload-api", m.o.rewrite("unix:///run/sallyport/"+w.Name+".sock"),
			"--serve", ":8000", "--calls", w.calls(), "--gateway", w.Environment+"-1")
		Await(m.t, 30*time.Second, w.Name, func() error {
			conn, err := net.Dial("unix", h.Path(w.calls()))
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}
}

// calls is the socket, on its host, that takes calls for it to make.
func (w Workload) calls() string { return "/run/workloads/" + w.Name + "/calls.sock" }

// As is a client whose requests the workload of that name makes, through its own
// gateway. Its URLs are http, since this end of them is a Unix socket.
func (m *Mesh) As(t testing.TB, workload string) *http.Client {
	t.Helper()
	for _, w := range Workloads {
		if w.Name != workload {
			continue
		}
		socket := m.At(w.Environment).Path(w.calls())
		return &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}}
	}
	t.Fatalf("there is no workload %q", workload)
	return nil
}

// Answer is what became of a call.
type Answer struct {
	Status   int
	Crossing string // the crossing's id
	Caller   string // whom the callee saw, if it was reached
	Body     string
}

// Call makes one call, for a bounded time.
func Call(ctx context.Context, client *http.Client, method, url string, body io.Reader) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &Answer{
		Status: resp.StatusCode, Crossing: resp.Header.Get("sallyport-crossing"), Caller: resp.Header.Get("caller"), Body: string(text),
	}, err
}

// Record waits until both gateways' halves of a crossing are joined, or it is
// known that there will be only one.
func (m *Mesh) Record(t testing.TB, id string) *crossingv1.Record {
	t.Helper()
	var record *crossingv1.Record
	Await(t, 30*time.Second, "the record of "+id, func() error {
		if id == "" {
			return errors.New("the answer names no crossing")
		}
		all, err := list(t, m, func() *crossingv1.Record { return new(crossingv1.Record) }, "trace", id)
		switch {
		case err != nil:
			return err
		case len(all) != 1:
			return fmt.Errorf("there are %d of it", len(all))
		}
		record = all[0]
		switch record.GetState() {
		case crossingv1.Record_JOINED, crossingv1.Record_DENIED, crossingv1.Record_DISAGREE:
			return nil
		}
		return fmt.Errorf("it is %s: %v", record.GetState(), record)
	})
	return record
}
