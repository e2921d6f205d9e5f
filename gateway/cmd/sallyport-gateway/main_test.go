package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestRunSaysWhatItDidNotUnderstand(t *testing.T) {
	unknown := write(t, `{"gatewy": "aws-1"}`)
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing", nil, unasked, "usage: sallyport-gateway run"},
		{"unknown command", []string{"walk"}, unasked, "usage: sallyport-gateway run"},
		{"no bootstrap", []string{"run"}, unasked, "run needs --bootstrap FILE"},
		{"unknown flag", []string{"run", "--boots", "x"}, unasked, "-boots"},
		{"an argument", []string{"run", "--bootstrap", "x", "y"}, unasked, `no argument "y"`},
		{"unknown level", []string{"run", "--log-level", "loud"}, unasked, `"loud"`},
		{"no such file", []string{"run", "--bootstrap", "/nonexistent/b.json"}, unasked, "/nonexistent/b.json: no such file"},
		{"unknown field", []string{"run", "--bootstrap", unknown}, unasked, unknown + `:1:2: unknown field "gatewy"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(context.Background(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("run(%q) = %d, want %d", tt.args, code, tt.code)
			}
			if !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
				t.Errorf("run(%q) said %q (stdout %q), want %q", tt.args, stderr.String(), stdout.String(), tt.want)
			}
		})
	}
}

func TestRunHelpIsAnAnswer(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"run", "--help"}, &stdout, &stderr); code != ended || stdout.String() != help {
		t.Errorf("run --help = %d, %q", code, stdout.String())
	}
}

// A gateway whose bootstrap says too little does not start, and its log says so.
func TestRunLogsWhyTheGatewayEnded(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"run", "--bootstrap", write(t, `{}`)}, &stdout, &stderr)
	if code != failed {
		t.Fatalf("run with an empty bootstrap = %d, want %d", code, failed)
	}
	var line map[string]any
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil {
		t.Fatalf("log line %q: %v", stderr.String(), err)
	}
	if line["msg"] != "gateway ended" || line["level"] != "error" || line["error"] == "" {
		t.Errorf("log line %v", line)
	}
}

func TestLogKeepsItsLevel(t *testing.T) {
	var out bytes.Buffer
	log := newLog(&out, zapcore.WarnLevel)
	log.Info("quiet")
	log.Warn("tunnel lost", zap.String("peer", "aws-1"))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("want one JSON line, got %q: %v", out.String(), err)
	}
	if line["peer"] != "aws-1" || line["time"] == nil {
		t.Errorf("log line %v", line)
	}
}
