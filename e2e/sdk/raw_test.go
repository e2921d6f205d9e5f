package sdk

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/e2e/sdk/provider"
)

// asked is a request by hand.
type asked struct{ path, body, encoding string }

// TestBytes: an answer's content is with the mesh what it is without it, byte for
// byte, and so is its head but for what belongs to a connection.
func TestBytes(t *testing.T) {
	t.Parallel()
	m := withProvider(t, permissive(t))
	here, _ := directly(t)
	all := ways(t, m.Mesh, chatAt)
	for _, way := range []string{"base URL", "base URL over TLS", "forward proxy", "mTLS, HTTP/2"} {
		t.Run(way, func(t *testing.T) {
			for _, a := range everything() {
				want, wantHead := fetched(t, here, a)
				got, head := fetched(t, all[way], a)
				if !bytes.Equal(got, want) {
					t.Errorf("%+v:\n%q, without the mesh\n%q", a, got, want)
				}
				if diff := cmp.Diff(wantHead, head); diff != "" {
					t.Errorf("%+v: the head with the mesh (+) is not as without (-):\n%s", a, diff)
				}
			}
		})
	}
}

// everything is each answer that a provider has a script for, in each form.
func everything() (all []asked) {
	for path, models := range map[string][]string{
		"/v1/chat/completions":      {provider.Text, provider.Tools, provider.OtherServer, provider.Midway, provider.Slow, provider.Zipped, provider.BadRequest, provider.Broken, provider.BusyOnce},
		"/v1/responses":             {provider.Text, provider.CutShort, provider.Midway, provider.Zipped, provider.NoKey},
		"/v1/messages":              {provider.Text, provider.Tools, provider.Midway, provider.Zipped, provider.Overloaded},
		"/v1/messages/count_tokens": {provider.Text},
		"/v1/embeddings":            {provider.Embedding, provider.Zipped},
	} {
		for _, model := range models {
			for _, more := range []string{``, `,"encoding_format":"base64"`, `,"stream":true`, `,"stream":true,"stream_options":{"include_usage":true}`} {
				all = append(all, asked{path, `{"model":"` + model + `"` + more + `}`, "gzip"})
			}
			all = append(all, asked{path, `{"model":"` + model + `","stream":true}`, "identity"})
		}
	}
	return all
}

// TestBrokenOff: what a provider has sent before it breaks off a stream comes with
// the mesh too, and then the end comes as none.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	m := withProvider(t, permissive(t))
	here, _ := directly(t)
	a := asked{"/v1/chat/completions", `{"model":"` + provider.CutAtOnce + `","stream":true}`, "identity"}
	want, _, _ := fetch(t, here, a)
	for name, at := range ways(t, m.Mesh, chatAt) {
		if at.under != nil {
			continue // it is for programs
		}
		for range 10 {
			if got, head, err := fetch(t, at, a); err == nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v, %v, %d bytes; want an error after %d", name, head["Status"], err, len(got), len(want))
			}
		}
	}
}

// fetched is an answer as it came, undecoded.
func fetched(t *testing.T, at place, a asked) ([]byte, http.Header) {
	t.Helper()
	text, head, err := fetch(t, at, a)
	if err != nil {
		t.Errorf("%+v: %v", a, err)
	}
	return text, head
}

// fetch is fetched, with what went wrong with its content.
func fetch(t *testing.T, at place, a asked) ([]byte, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.base+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+at.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Encoding", a.encoding) // set by hand, it is not decoded either
	resp, err := at.from(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	for _, name := range []string{"Date", "Sallyport-Crossing", "Connection", "Transfer-Encoding"} {
		resp.Header.Del(name)
	}
	resp.Header.Set("Status", resp.Status[:3])
	return text, resp.Header, err
}
