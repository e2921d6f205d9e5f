package attest

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for _, text := range []string{
		"unix:uid:0", "unix:uid:4294967295", "unix:gid:7", "unix:supplementary_gid:27",
		"unix:path:/usr/bin/agent", "unix:path:/", "unix:path:/a b:c", "unix:sha256:" + digest,
		"cgroup:/", "cgroup:/system.slice/agent.service",
	} {
		if s, err := Parse(text); err != nil || s.String() != text {
			t.Errorf("Parse(%q) = %v, %v", text, s, err)
		}
	}
	for _, text := range []string{
		"", "unix:uid:", "unix:uid:-1", "unix:uid:+1", "unix:uid:01", "unix:uid:4294967296", "unix:uid:root", "unix:uid: 1",
		"unix:user:root", "unix:gid", "UNIX:UID:1", "unix:uid:1\n", "k8s:pod:x",
		"unix:path:agent", "unix:path:/usr/../bin", "unix:path:/usr//bin", "unix:path:/usr/bin/", "unix:path:/a\x00b", "unix:path:/a\nb",
		"unix:sha256:", "unix:sha256:" + digest[1:], "unix:sha256:" + strings.ToUpper(digest), "unix:sha256:" + digest + "00",
		"cgroup:system.slice", "cgroup:/a/../b",
	} {
		if s, err := Parse(text); err == nil || !strings.HasPrefix(err.Error(), "selector ") {
			t.Errorf("Parse(%q) = %v, %v, want an error that names it", text, s, err)
		}
	}
}

func TestParseAll(t *testing.T) {
	if _, err := ParseAll(nil, []string{"unix:user:x", "unix:uid:y", "unix:path:/ok"}); err == nil ||
		!strings.Contains(err.Error(), "unix:user:x") || !strings.Contains(err.Error(), "unix:uid:y") {
		t.Errorf("not all faults are told: %v", err)
	}
	if _, err := ParseAll(nil, nil); err == nil {
		t.Error("anybody at all was taken")
	}
	s, err := ParseAll(nil, []string{"unix:uid:7"})
	if err != nil || !s.OnlyUID(7) || s.OnlyUID(8) {
		t.Errorf("one user: %v, %t, %t", err, s.OnlyUID(7), s.OnlyUID(8))
	}
	if s, err = ParseAll([]uint32{7, 8}, nil); err != nil || s.OnlyUID(7) {
		t.Errorf("two users: %v, %t", err, s.OnlyUID(7))
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		cgroup, of string
		want       bool
	}{
		{"/a.service", "/a.service", true},
		{"/a.service/sub", "/a.service", true},
		{"/a.service2", "/a.service", false},
		{"/", "/a", false},
		{"/a", "/", true},
		{"/../a", "/a", false},
		{"", "/a", false},
	} {
		if got := within(tt.cgroup, tt.of); got != tt.want {
			t.Errorf("within(%q, %q) = %t", tt.cgroup, tt.of, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"unix:uid:1", "unix:path:/a", "cgroup:/a/b", "unix:sha256:" + strings.Repeat("0", 64)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := Parse(text); err == nil && s.String() != text {
			t.Errorf("Parse(%q) is written %q", text, s)
		}
	})
}
