package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const good = `{
  "gateway": "aws-1",
  "environment": "aws",
  "trustDomain": "aws.demo",
  "controlPlane": {"address": "127.0.0.1:8440", "id": "spiffe://mesh.demo/sallyport/controlplane/cp-1", "bundle": "{}"},
  "policyKeys": {"threshold": 1, "keys": {"a": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
  "tunnel": "127.0.0.1:0",
  "stateDir": "state"
}
`

func TestReadBootstrap(t *testing.T) {
	b, err := readBootstrap(write(t, good))
	if err != nil {
		t.Fatal(err)
	}
	if b.GetGateway() != "aws-1" || b.GetPolicyKeys().GetThreshold() != 1 || len(b.GetPolicyKeys().GetKeys()["a"]) != 32 {
		t.Errorf("bootstrap read as %v", b)
	}
}

func TestReadBootstrapNamesFileLineAndField(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown field", strings.Replace(good, `"tunnel"`, `"tunel"`, 1), `:7:3: unknown field "tunel"`},
		{"unknown nested field", strings.Replace(good, `"address"`, `"adress"`, 1), `:5:20: unknown field "adress"`},
		{"field twice", strings.Replace(good, `"tunnel": "127.0.0.1:0"`, `"gateway": "aws-2"`, 1), `:7:3: duplicate field "gateway"`},
		{"wrong type", strings.Replace(good, `"aws"`, `7`, 1), `:3:18: invalid value for string field environment: 7`},
		{"not base64", strings.Replace(good, `"AAAA`, `"!AAA`, 1), `:6:48: invalid value for bytes field`},
		{"not JSON", "gateway: aws-1\n", `:1:1: `},
		{"cut short", good[:strings.Index(good, `  "policyKeys"`)], `:6:1: `},
		{"empty", "", `:1:1: `},
		{"two documents", good + good, `:10:1: `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.text)
			_, err := readBootstrap(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+tt.want) {
				t.Errorf("readBootstrap = %v, want an error that begins with %q", err, path+tt.want)
			}
		})
	}
}

func TestReadBootstrapRefusesALargeFile(t *testing.T) {
	_, err := readBootstrap(write(t, good+strings.Repeat(" ", maxBootstrap)))
	if err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("readBootstrap of a large file = %v", err)
	}
}

func FuzzParseBootstrap(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"gateway": 1}`))
	f.Add([]byte("{"))
	position := regexp.MustCompile(`^\d+:\d+: .`)
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := parseBootstrap(text)
		if err != nil {
			if !position.MatchString(err.Error()) {
				t.Errorf("error without a position: %q", err)
			}
			return
		}
		again, err := protojson.Marshal(b)
		if err != nil {
			t.Fatalf("accepted what cannot be written: %v", err)
		}
		if back, err := parseBootstrap(again); err != nil || !proto.Equal(b, back) {
			t.Errorf("read back otherwise: %v, %v", back, err)
		}
	})
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
