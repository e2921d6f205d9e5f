package guard

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// at makes a guard dlp of what a bootstrap file says, for a gateway that has no SVID.
func at(t testing.TB, c *configv1.Guard) *Guards {
	t.Helper()
	return atAs(t, c, nil)
}

// atAs is at, for a gateway that has one.
func atAs(t testing.TB, c *configv1.Guard, gateway *certs.Source) *Guards {
	t.Helper()
	p, err := ParsePlace(c)
	if err != nil {
		t.Fatal(err)
	}
	g := New(map[string]Place{"dlp": p}, gateway)
	t.Cleanup(g.Close)
	return g
}

func served(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, text)
	}
}

// TestAnswers: nothing but a well-formed pass is one, and what is wrong is said without
// a word of the guard's.
func TestAnswers(t *testing.T) {
	const pass, refuse, none = crossingv1.Guarded_PASS, crossingv1.Guarded_REFUSE, crossingv1.Guarded_VERDICT_UNSPECIFIED
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    Answer
	}{
		{"pass", says(`{"verdict":"pass"}`), Answer{Verdict: pass}},
		{"pass with findings", says(` {"findings":["pii.email"],"verdict":"pass","rule":"r-1"} `), Answer{Verdict: pass, Rule: "r-1", Findings: []string{"pii.email"}}},
		{"refuse", says(`{"verdict":"refuse","rule":"dlp.cards","detail":"4111 1111"}`), Answer{Verdict: refuse, Rule: "dlp.cards"}},
		{"nothing", says(``), Answer{Fault: "its answer: it is not one JSON object"}},
		{"broken", says(`{"verdict":"pass"`), Answer{Fault: "its answer: it is not one JSON object"}},
		{"two", says(`{"verdict":"pass"}{"verdict":"pass"}`), Answer{Fault: "its answer: it is not one JSON object"}},
		{"a list", says(`["pass"]`), Answer{Fault: "its answer: it is not one JSON object"}},
		{"no text", says("{\"verdict\":\"pass\",\"detail\":\"\xff\"}"), Answer{Fault: "its answer: it is not one JSON object"}},
		{"none", says(`{"rule":"r"}`), Answer{Fault: "its answer: its verdict is neither pass nor refuse"}},
		{"another verdict", says(`{"verdict":"PASS"}`), Answer{Fault: "its answer: its verdict is neither pass nor refuse"}},
		{"another case", says(`{"Verdict":"pass"}`), Answer{Fault: "its answer: it has an unknown member"}},
		{"twice", says(`{"verdict":"refuse","verdict":"pass"}`), Answer{Fault: "its answer: it has a member twice"}},
		{"twice, escaped", says(`{"verdict":"refuse","\u0076erdict":"pass"}`), Answer{Fault: "its answer: it has a member twice"}},
		{"true", says(`{"verdict":true}`), Answer{Fault: "its answer: a member has another type than it should"}},
		{"null", says(`{"verdict":"pass","rule":null}`), Answer{Fault: "its answer: a member has another type than it should"}},
		{"a nested finding", says(`{"verdict":"pass","findings":[["a"]]}`), Answer{Fault: "its answer: a member has another type than it should"}},
		{"a sentence for a rule", says(`{"verdict":"refuse","rule":"My Secret is 42"}`), Answer{Fault: "its answer: " + errName.Error()}},
		{"an endless rule", says(`{"verdict":"refuse","rule":"` + strings.Repeat("a", 65) + `"}`), Answer{Fault: "its answer: " + errName.Error()}},
		{"a new line in a finding", says(`{"verdict":"pass","findings":["a\nb"]}`), Answer{Fault: "its answer: " + errName.Error()}},
		{"many findings", says(`{"verdict":"pass","findings":["a"` + strings.Repeat(`,"a"`, 16) + `]}`), Answer{Fault: "its answer: it has more than 16 findings"}},
		{"huge", says(`{"verdict":"pass","detail":"` + strings.Repeat("x", 1<<20) + `"}`), Answer{Fault: "its answer: it is longer than 16384 bytes"}},
		{"500", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, `{"verdict":"pass"}`)
		}, Answer{Fault: "it answers with status 500"}},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		}, Answer{Fault: "it answers with status 307"}},
		{"an endless head", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x", strings.Repeat("x", 1<<20)) }, Answer{Fault: "it cannot be reached"}},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Answer{Fault: "it cannot be reached"}},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-length", "100")
			io.WriteString(w, `{"verdict":"pass"}`)
		}, Answer{Fault: "its answer broke off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := at(t, &configv1.Guard{Url: served(t, c.handler)}).Ask(t.Context(), "dlp", &Question{Content: []byte("x")})
			if got.Took <= 0 {
				t.Error("it took no time")
			}
			got.Took = 0
			if diff := cmp.Diff(c.want, got); diff != "" || got.Passes() != (c.want.Verdict == pass) || (got.Fault == "") != (got.Verdict != none) {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestQuestion: a guard is told whose content it is, and callers write no field of their own.
func TestQuestion(t *testing.T) {
	var head http.Header
	var content []byte
	url := served(t, func(w http.ResponseWriter, r *http.Request) {
		head = r.Header
		content, _ = io.ReadAll(r.Body)
		io.WriteString(w, `{"verdict":"pass"}`)
	})
	q := &Question{
		Crossing: "id", Side: crossingv1.Side_EGRESS, Caller: "spiffe://near.test/a", Destination: "spiffe://far.test/b",
		Service: "chat", Protocol: "openai", Operation: "chat", Model: "größe 1\r\nsallyport-side: ingress",
		Method: "POST", Target: "/v1/chat?x=%41", ContentType: "application/json", Content: []byte(`{"model":"m"}`),
	}
	if a := at(t, &configv1.Guard{Url: url}).Ask(t.Context(), "dlp", q); !a.Passes() {
		t.Fatalf("%+v", a)
	}
	for name, want := range map[string]string{
		"content-type": "application/json", "sallyport-guard": "dlp", "sallyport-crossing": "id", "sallyport-side": "egress",
		"sallyport-caller": "spiffe://near.test/a", "sallyport-model": "gr%C3%B6%C3%9Fe%201%0D%0Asallyport-side:%20ingress",
		"sallyport-method": "POST", "sallyport-target": "/v1/chat?x=%2541",
	} {
		if got := head.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if head.Values("sallyport-tool") != nil || string(content) != `{"model":"m"}` {
		t.Errorf("%v %s", head, content)
	}
}

// TestSlow: a guard that says nothing is not waited for, and neither is one that has too
// much under way.
func TestSlow(t *testing.T) {
	silent := func(asked chan<- struct{}) string {
		return served(t, func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			asked <- struct{}{}
			<-r.Context().Done()
		})
	}
	soon := at(t, &configv1.Guard{Url: silent(make(chan struct{}, 1)), Timeout: durationpb.New(20 * time.Millisecond)})
	if a := soon.Ask(t.Context(), "dlp", &Question{}); a.Passes() || a.Fault != "it says nothing in time" {
		t.Errorf("%+v", a)
	}
	asked := make(chan struct{})
	one := at(t, &configv1.Guard{Url: silent(asked), Timeout: durationpb.New(time.Minute), AtOnce: 1})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan Answer)
	go func() { left <- one.Ask(ctx, "dlp", &Question{}) }()
	<-asked
	one.by["dlp"].Timeout = time.Millisecond
	if a := one.Ask(t.Context(), "dlp", &Question{}); a.Fault != "it has too much under way" {
		t.Errorf("%+v", a)
	}
	leave()
	if a := <-left; a.Fault != "the caller left before it said anything" {
		t.Errorf("%+v", a)
	}
	if a := one.Ask(ctx, "dlp", &Question{}); a.Fault != "the caller left before it said anything" {
		t.Errorf("%+v", a)
	}
}

// TestShown: no guard is shown a part of a content for all of it.
func TestShown(t *testing.T) {
	g := at(t, &configv1.Guard{Url: served(t, says(`{"verdict":"pass"}`)), ContentBytes: 10})
	for _, c := range []struct{ name, coding, content, fault string }{
		{"short", "", "0123456789", ""},
		{"long", "", "0123456789a", "the content is longer than the 10 bytes that it is shown"},
		{"no such coding", "rot13", "x", "the content's coding cannot be undone"},
		{"not of its coding", "gzip", "x", "the content's coding cannot be undone"},
	} {
		a := g.Ask(t.Context(), "dlp", &Question{Coding: c.coding, Content: []byte(c.content)})
		if a.Fault != c.fault || a.Unshown != (c.fault != "") || a.Passes() == a.Unshown {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// TestUnix: a guard may be at a socket.
func TestUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "guard") // short enough for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: says(`{"verdict":"refuse","rule":"a"}`)}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	if a := at(t, &configv1.Guard{Url: "unix://" + socket}).Ask(t.Context(), "dlp", &Question{}); a.Rule != "a" || a.Passes() {
		t.Errorf("%+v", a)
	}
}

// TestPlaces: a content goes nowhere where others may hear it.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		url, id string
		field   string // at fault; "" if none
	}{
		{"http://127.0.0.1:9000/check", "", ""},
		{"http://[::1]:9000", "", ""},
		{"unix:///run/guard.sock", "", ""},
		{"https://guard.test/check", "spiffe://near.test/guard", ""},
		{"http://10.0.0.1/", "", "url"},
		{"http://localhost/", "", "url"},
		{"http://127.0.0.1.guard.test/", "", "url"},
		{"http://[::ffff:10.0.0.1]/", "", "url"},
		{"http://user:pass@127.0.0.1/", "", "url"},
		{"http://127.0.0.1/?key=1", "", "url"},
		{"unix://host/run/guard.sock", "", "url"},
		{"unix:run", "", "url"},
		{"ftp://127.0.0.1/", "", "url"},
		{"", "", "url"},
		{"https:///check", "spiffe://near.test/guard", "url"},
		{"https://guard.test/check", "", "id"},
		{"https://guard.test/check", "guard", "id"},
		{"http://127.0.0.1/", "spiffe://near.test/guard", "id"},
	} {
		_, err := ParsePlace(&configv1.Guard{Url: c.url, Id: c.id})
		if field := fieldOf(err); field != c.field {
			t.Errorf("%q as %q: %v", c.url, c.id, err)
		}
	}
	for field, c := range map[string]*configv1.Guard{
		"timeout":      {Url: "unix:///s", Timeout: durationpb.New(time.Hour)},
		"contentBytes": {Url: "unix:///s", ContentBytes: 1 << 40},
		"atOnce":       {Url: "unix:///s", AtOnce: 1 << 20},
	} {
		if _, err := ParsePlace(c); fieldOf(err) != field {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := ParsePlace(&configv1.Guard{Url: "unix:///s", Timeout: durationpb.New(0)}); fieldOf(err) != "timeout" {
		t.Errorf("no time at all: %v", err)
	}
}

// fieldOf is the field that an error of ParsePlace begins with; "" of nil.
func fieldOf(err error) string {
	if err == nil {
		return ""
	}
	field, _, _ := strings.Cut(err.Error(), ":")
	return field
}

// TestNone: nobody is no guard.
func TestNone(t *testing.T) {
	var none *Guards
	none.Close()
	if a := none.Ask(t.Context(), "dlp", &Question{}); a.Passes() || a.Fault == "" || a.Unshown {
		t.Errorf("%+v", a)
	}
}

// python is a guard by Python's own HTTP server.
const python = `
import http.server, json, sys, urllib.parse
class Guard(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        content = self.rfile.read(int(self.headers["content-length"]))
        model = urllib.parse.unquote(self.headers["sallyport-model"])
        secret = b"s3cr3t" in content
        answer = {"verdict": "refuse" if secret else "pass", "rule": "secrets", "findings": ["of-" + model], "detail": content.decode()}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Guard)
print(server.server_port, flush=True)
server.serve_forever()
`

// TestPython: a guard is a few lines of another language.
func TestPython(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not here")
	}
	run := exec.CommandContext(t.Context(), path, "-c", python)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run.Process.Kill()
		run.Wait()
	})
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	g := at(t, &configv1.Guard{Url: fmt.Sprintf("http://127.0.0.1:%d/check", port)})
	for content, want := range map[string]crossingv1.Guarded_Verdict{"hello": crossingv1.Guarded_PASS, "a s3cr3t": crossingv1.Guarded_REFUSE} {
		if a := g.Ask(t.Context(), "dlp", &Question{Model: "m", Content: []byte(content)}); a.Verdict != want || a.Rule != "secrets" || len(a.Findings) != 1 || a.Findings[0] != "of-m" {
			t.Errorf("%q: %+v", content, a)
		}
	}
}

// TestTLS: a guard elsewhere shows by its SVID that it is the one, and sees by the gateway's
// who asks; another one gets nothing.
func TestTLS(t *testing.T) {
	const td = "near.test"
	domain := certstest.Mesh(t, td)[td]
	gateway := domain.ID("/sallyport/gateway/near-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.TLS.PeerCertificates[0].URIs[0].String()
		says(`{"verdict":"pass"}`)(w, r)
	})}
	config := certs.ServerTLS(domain.Source("/dlp"), certs.AuthorizeID(gateway), "http/1.1")
	go srv.Serve(tls.NewListener(l, config))
	t.Cleanup(func() { srv.Close() })
	where := "https://" + l.Addr().String() + "/check"
	ask := func(id string) Answer {
		g := atAs(t, &configv1.Guard{Url: where, Id: id}, domain.Source("/sallyport/gateway/near-1"))
		return g.Ask(t.Context(), "dlp", &Question{Crossing: "c", Content: []byte("x")})
	}
	if a := ask(domain.ID("/dlp").String()); !a.Passes() || <-asked != gateway.String() {
		t.Errorf("%+v", a)
	}
	if a := ask(domain.ID("/other").String()); a.Passes() || a.Fault != "it cannot be reached" || len(asked) > 0 {
		t.Errorf("of another guard: %+v", a)
	}
}

// FuzzAnswer: what is read has a verdict that every JSON reader finds, and names alone.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		`{"verdict":"pass"}`, `{"verdict":"refuse","rule":"a.b","findings":["c","d"],"detail":"e"}`, `{"verdict":"pass","findings":[]}`,
		`{"verdict":"pass","verdict":"refuse"}`, `{"verdict":"pass"}x`, `[]`, `{"findings":[[]],"verdict":"pass"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parse(text)
		if err != nil {
			if a.Passes() || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%+v with %v", a, err)
			}
			return
		}
		var plain struct {
			Verdict, Rule string
			Findings      []string
		}
		if err := json.Unmarshal(text, &plain); err != nil || a.Passes() != (plain.Verdict == "pass") || plain.Verdict != "pass" && plain.Verdict != "refuse" {
			t.Fatalf("%+v of %q, which another reads as %+v: %v", a, text, plain, err)
		}
		for _, name := range append(a.Findings, plain.Rule) {
			if name != "" && !crossing.IsRule(name) {
				t.Fatalf("%q is no name", name)
			}
		}
	})
}
