package address

import (
	"strings"
	"testing"
)

func TestCheckHostPort(t *testing.T) {
	for text, wrong := range map[string]string{
		"a.test:1": "", "10.0.0.1:65535": "", "[::1]:443": "", "x-1:80": "",
		"a.test": "is not HOST:PORT", ":80": "is not HOST:PORT", "[]:80": "is not HOST:PORT", "": "is not HOST:PORT",
		"a.test:0": "1 to 65535", "a.test:65536": "1 to 65535", "a.test:080": "1 to 65535", "a.test:+1": "1 to 65535", "a.test:": "1 to 65535",
		"::1:443": "stands in brackets", "A.test:1": "neither", "a..test:1": "neither",
		strings.Repeat("a.", 127) + "a:1": "longer than 253",
	} {
		err := CheckHostPort(text)
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("CheckHostPort(%q) = %v, want %q", text, err, wrong)
		}
	}
}

func TestIsLabel(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a-1": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a_b": false, "a.b": false, "ä": false, strings.Repeat("a", 64): false,
	} {
		if got := IsLabel(text); got != want {
			t.Errorf("IsLabel(%q) = %v", text, got)
		}
	}
}
