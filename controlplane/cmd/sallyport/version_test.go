package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestBuild(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}, {Key: "GOOS", Value: "linux"},
	}}
	for _, c := range []struct{ name, got, want string }{
		{"of a release", buildOf(info, true).String(), "sallyport v0.1.0, commit abc, changed since, go1.26"},
		{"of a workspace", buildOf(&debug.BuildInfo{}, true).String(), "sallyport (devel)"},
		{"of who knows what", buildOf(nil, false).String(), "sallyport unknown"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
	for _, args := range []string{"version", "--version"} {
		if code, stdout, _ := ask(t, newFakeMesh(t), args); code != yes || !strings.HasPrefix(stdout, "sallyport ") || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s = %d, %q", args, code, stdout)
		}
	}
	if code, stdout, _ := ask(t, newFakeMesh(t), "version", "-o", "json"); code != yes || !strings.Contains(stdout, `"version": `) {
		t.Errorf("version -o json = %d, %q", code, stdout)
	}
}
