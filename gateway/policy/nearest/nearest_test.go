package nearest

import "testing"

func TestName(t *testing.T) {
	known := []string{"tokens", "requests", "bytes"}
	for name, want := range map[string]string{"token": "tokens", "tokesn": "tokens", "reqests": "requests", "bite": "", "": "", "x": ""} {
		if got := Name(name, known); got != want {
			t.Errorf("Name(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestHint(t *testing.T) {
	known := []string{"tokens"}
	if got := Hint("token", known); got != `; did you mean "tokens"?` {
		t.Errorf("Hint = %q", got)
	}
	if got := Hint("bytes", known); got != "" {
		t.Errorf("Hint = %q, want none", got)
	}
}
