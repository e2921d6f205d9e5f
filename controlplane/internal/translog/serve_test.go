package translog

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
)

// TestServe: Tessera's client and fsck read a log as it is served, with its cosignatures,
// and nothing else of its directory can be had.
func TestServe(t *testing.T) {
	t.Parallel()
	const td = "aws.test"
	dir := t.TempDir()
	vkey, err := Prepare(dir, td)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := startWitness(t, "one.test/w", vkey, t.TempDir(), "127.0.0.1:0")
	set, err := OpenSet(t.Context(), SetConfig{Dir: dir, Witnesses: []Witness{w}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := set.Add(t.Context(), td, frames(0, 600)...); err != nil {
		t.Fatal(err)
	}
	set.mu.Lock()
	l := set.open[td]
	set.mu.Unlock()
	cosigned := awaitCosigned(t, l, 600, w)
	server := httptest.NewServer(set.Handler())
	defer server.Close()
	at, err := url.Parse(server.URL + "/" + td + "/")
	if err != nil {
		t.Fatal(err)
	}
	fetch, err := client.NewHTTPFetcher(at, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := fetch.ReadCheckpoint(t.Context()); err != nil || !bytes.Equal(text, cosigned.Note) {
		t.Errorf("checkpoint %q: %v", text, err)
	}
	if err := fsck.New(origin, l.verifier, fetch, hashBundle, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
		t.Errorf("fsck: %v", err)
	}
	for path, want := range map[string]int{
		"/aws.test/checkpoint":                 http.StatusOK,
		"/aws.test/tile/0/000":                 http.StatusOK,
		"/aws.test/tile/entries/000":           http.StatusOK,
		"/aws.test/tile/0/009":                 http.StatusNotFound,
		"/aws.test/tile/64/000":                http.StatusNotFound,
		"/aws.test/tile/0":                     http.StatusNotFound,
		"/aws.test/tile/entries/000.p":         http.StatusNotFound,
		"/aws.test/":                           http.StatusNotFound,
		"/aws.test/.state/treeState":           http.StatusNotFound,
		"/aws.test/../log.key":                 http.StatusNotFound,
		"/aws.test/%2e%2e/log.key":             http.StatusNotFound,
		"/aws.test/tile/%2e%2e/%2e%2e/log.key": http.StatusNotFound,
		"/aws.test%2f/checkpoint":              http.StatusNotFound,
		"/x%2f..%2faws.test/checkpoint":        http.StatusNotFound,
		"/%2e%2faws.test/checkpoint":           http.StatusNotFound,
		"/azure.test/checkpoint":               http.StatusNotFound,
		"/%2e%2e/checkpoint":                   http.StatusNotFound,
		"/":                                    http.StatusNotFound,
	} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || bytes.Contains(body, []byte("PRIVATE")) {
			t.Errorf("%s: %s, want %d: %.40q %v", path, resp.Status, want, body, err)
		}
	}
	if resp, err := http.Post(server.URL+"/aws.test/checkpoint", "text/plain", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", resp.Status, err)
	}
}
