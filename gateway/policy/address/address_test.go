package address

import (
	"strings"
	"testing"
)

func TestPort(t *testing.T) {
	for text, want := range map[string]uint16{
		"1": 1, "65535": 65535, "": 0, "0": 0, "08": 0, "+8": 0, "-1": 0, "65536": 0, "8a": 0, " 8": 0,
	} {
		if got, err := Port(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("Port(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestCheckHostPort(t *testing.T) {
	for text, want := range map[string]bool{
		"gw.example:1": true, "10.0.0.1:443": true, "[::1]:443": true,
		"": false, ":443": false, "gw": false, "gw:": false, "gw:0": false, "::1:443": false, "[]:1": false, "GW:1": false, "a..b:1": false,
	} {
		if err := CheckHostPort(text); (err == nil) != want {
			t.Errorf("CheckHostPort(%q) = %v, want it accepted: %v", text, err, want)
		}
	}
	if CheckHost("") != nil || CheckHost(strings.Repeat("a.", 127)+"a") == nil {
		t.Error("CheckHost accepts what it should not, or the other way round")
	}
}

func TestIsLabel(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a-1": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a_b": false, "a.b": false, strings.Repeat("a", 64): false, "é": false,
	} {
		if got := IsLabel(text); got != want {
			t.Errorf("IsLabel(%q) = %v", text, got)
		}
	}
}
