package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var update = flag.Bool("update", false, "rewrite the golden sessions")

// A session is a directory of testdata/sessions with what a person typed and saw,
// in session.txt, and the files that it is about. Standard error is marked by
// "! ", an exit code other than 0 by "[exit N]".
func TestSessions(t *testing.T) {
	knobs := map[string]func(*fakeMesh){
		"behind": func(f *fakeMesh) { f.behind = []string{"azure-1"} },
		"conflict": func(f *fakeMesh) {
			f.failPublish = status.Error(codes.FailedPrecondition, "serial 7 sha256:77 is in force")
		},
		"refused": func(f *fakeMesh) {
			f.failPublish = status.Error(codes.InvalidArgument, "signature of policy-1 is not valid")
		},
		"calls":       func(f *fakeMesh) { f.records = f.calls },
		"stopped":     func(f *fakeMesh) { f.stopped = true },
		"unreachable": func(f *fakeMesh) { f.fail = status.Error(codes.Unavailable, "connection refused") },
		"forbidden":   func(f *fakeMesh) { f.fail = status.Error(codes.PermissionDenied, "no") },
		"empty":       func(f *fakeMesh) { *f = fakeMesh{} },
		"quiet": func(f *fakeMesh) {
			f.findings = nil
			for _, t := range f.transitions {
				if t.GetStatements() != nil {
					t.Statements.Silent = nil
				}
			}
		},
		"silent": func(f *fakeMesh) {
			f.findings = slices.DeleteFunc(f.findings, func(one *controlv1.Finding) bool { return !one.GetUncertain() })
		},
	}
	dirs, err := filepath.Glob("testdata/sessions/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			f := newFakeMesh(t)
			if knob := knobs[filepath.Base(dir)]; knob != nil {
				knob(f)
			}
			path, err := filepath.Abs(filepath.Join(dir, "session.txt"))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			connect := f.serve(t)
			enter(t, dir)
			got := replay(t, string(want), connect)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("session differs (-want +got):\n%s", diff)
			}
		})
	}
}

// enter makes a directory with the session's files and an operator's key, and
// goes there.
func enter(t *testing.T, dir string) {
	t.Helper()
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work)
	t.Setenv("SALLYPORT_DIR", "mesh")
	if err := os.MkdirAll("mesh/operator", 0o700); err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "mesh/operator/policy.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	var set bytes.Buffer
	public, _ := key.Public().(ed25519.PublicKey)
	if err := render.WriteJSON(&set, render.Message(&policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"policy-1": public}})); err != nil {
		t.Fatal(err)
	}
	write(t, "mesh/operator/keyset.json", set.Bytes())
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replay types the session's commands again and writes down what comes. Other
// than sallyport it knows cat.
func replay(t *testing.T, session string, connect func(context.Context, meshFlags) (*connection, error)) string {
	t.Helper()
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(session))
	var before, line string
	for ; lines.Scan(); before = line {
		line = lines.Text()
		if strings.HasPrefix(line, "#") && before == "" || // else it is of an answer
			line == "" && out.Len() == 0 {
			fmt.Fprintln(&out, line)
		}
		if !strings.HasPrefix(line, "$ ") {
			continue
		}
		if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n\n") && !strings.HasPrefix(lastLine(out.String()), "#") {
			fmt.Fprintln(&out)
		}
		fmt.Fprintln(&out, line)
		args := split(strings.TrimPrefix(line, "$ "))
		if args[0] == "cat" {
			text, err := os.ReadFile(args[1])
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
			continue
		}
		var stdout, stderr bytes.Buffer
		a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, now: today, connect: connect}
		code := a.run(t.Context(), args[1:])
		out.Write(stdout.Bytes())
		for l := range strings.Lines(stderr.String()) {
			out.WriteString("! " + l)
		}
		if code != 0 {
			fmt.Fprintf(&out, "[exit %d]\n", code)
		}
	}
	return out.String()
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// split splits a line at spaces outside of single quotes.
func split(line string) []string {
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
			continue
		}
		args = append(args, strings.Fields(part)...)
	}
	return args
}
