//go:build linux

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// destination is where requests arrive that were meant to be understood in two
// ways: a place, and what each program there took for a request.
type destination struct {
	place
	recorder *recorder // what came to an end
	// log is what the program in front of the recorder says, nil if there is none.
	log func(testing.TB) []hit
}

// goServer is net/http by itself, for HTTP/1.1 or, for gRPC, HTTP/2.
func goServer(t testing.TB, name, protocol string) destination {
	at, r := serve(t, name, protocol)
	return destination{place: at, recorder: r}
}

func nginx(t testing.TB) destination {
	t.Helper()
	bin := program(t, "nginx", "apt-get install nginx")
	d, dir, _ := fronted(t, "nginx", "nginx.conf", func(dir, file string) []string { return []string{bin, "-p", dir, "-c", file} })
	d.log = func(t testing.TB) []hit {
		var hits []hit
		for line := range strings.Lines(readFile(t, filepath.Join(dir, "access.log"))) {
			var h hit
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				t.Errorf("a line of nginx's log: %v: %q", err, line)
			}
			hits = append(hits, h)
		}
		return hits
	}
	return d
}

func haproxy(t testing.TB) destination {
	t.Helper()
	bin := program(t, "haproxy", "apt-get install haproxy")
	d, _, p := fronted(t, "haproxy", "haproxy.cfg", func(_, file string) []string { return []string{bin, "-db", "-f", file} })
	d.log = func(testing.TB) []hit {
		var hits []hit
		for line := range strings.Lines(p.words()) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "hit" {
				hits = append(hits, hit{Method: f[1], Target: f[2], Crossing: strings.Join(f[3:], " ")})
			}
		}
		return hits
	}
	return d
}

// fronted starts a program of others in front of a recorder, from a template in
// testdata. argv says how it is given its file.
func fronted(t testing.TB, name, file string, argv func(dir, file string) []string) (d destination, dir string, p *process) {
	t.Helper()
	behind, r := serve(t, name, "http")
	d = destination{place: place{name, "http", freePort(t)}, recorder: r}
	dir = t.TempDir()
	text, err := template.ParseFiles(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var filled bytes.Buffer
	if err := text.Execute(&filled, struct{ Dir, Listen, Recorder string }{dir, d.addr(), behind.addr()}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config")
	if err := os.WriteFile(path, filled.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return d, dir, launch(t, d.addr(), argv(dir, path)...)
}
