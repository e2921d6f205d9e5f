package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

const apiKey = "sk-proj-ABCdef0123456789"

// write writes a secret's file, as if it were some time ago.
func write(t testing.TB, path, text string, mode os.FileMode, ago time.Duration) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-ago)
	if err := errors.Join(os.Chmod(path, mode), os.Chtimes(path, then, then)); err != nil {
		t.Fatal(err)
	}
}

func holding(t testing.TB, text string) (*Holder, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	write(t, path, text, 0o600, time.Hour)
	return New(map[string]string{"openai-key": path}), path
}

func service(protocol string) *policy.Service {
	return &policy.Service{Name: "chat", Protocol: protocol, Credential: "openai-key"}
}

func TestInject(t *testing.T) {
	h, _ := holding(t, apiKey+"\n")
	callers := l7.Fields{
		{Name: "content-type", Value: "application/json"},
		{Name: "authorization", Value: "Bearer of-the-caller"},
		{Name: "authorization", Value: "Basic of-the-caller"},
		{Name: "x-api-key", Value: "of-the-caller"},
		{Name: "x_api_key", Value: "of-the-caller"},
		{Name: "x-goog-api-key", Value: "of-the-caller"},
		{Name: "api-key", Value: "of-the-caller"},
		{Name: "proxy-authorization", Value: "of-the-caller"},
		{Name: "cookie", Value: "session=of-the-caller"},
		{Name: "x-api-keys", Value: "is none"},
	}
	kept := l7.Fields{{Name: "content-type", Value: "application/json"}, {Name: "x-api-keys", Value: "is none"}}
	for protocol, want := range map[string]l7.Field{
		"openai": {Name: "authorization", Value: "Bearer " + apiKey}, "http": {Name: "authorization", Value: "Bearer " + apiKey},
		"grpc": {Name: "authorization", Value: "Bearer " + apiKey}, "mcp": {Name: "authorization", Value: "Bearer " + apiKey},
		"anthropic": {Name: "x-api-key", Value: apiKey},
	} {
		head := &l7.RequestHead{Method: "POST", Fields: slices.Clone(callers)}
		if err := h.Inject(service(protocol), head); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if all := append(slices.Clone(kept), want); !slices.Equal(head.Fields, all) {
			t.Errorf("%s: %v, want %v", protocol, head.Fields, all)
		}
	}
	head := &l7.RequestHead{Fields: slices.Clone(callers)}
	if err := h.Inject(&policy.Service{Protocol: "openai"}, head); err != nil || !slices.Equal(head.Fields, callers) {
		t.Errorf("a service without a credential: %v, %v", head.Fields, err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"empty": "", "blank": " \n", "two-lines": "one\ntwo\n", "space-within": "one two", "control": "one\x00", "beyond": "schl\u00fcssel",
		"long": strings.Repeat("k", maxSecret+1),
	} {
		write(t, at(name), text, 0o600, time.Hour)
	}
	for name, mode := range map[string]os.FileMode{"world": 0o644, "world-alone": 0o604, "group-writes": 0o660, "executable": 0o601} {
		write(t, at(name), apiKey, mode, time.Hour)
	}
	if err := errors.Join(os.Mkdir(at("directory"), 0o700), unix.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, want := range map[string]error{
		"empty": errForm, "blank": errForm, "two-lines": errForm, "space-within": errForm, "control": errForm, "beyond": errForm, "long": errLong,
		"world": errOpen, "world-alone": errOpen, "group-writes": errOpen, "executable": errOpen,
		"directory": errIrregular, "pipe": errIrregular, "missing": errMissing,
	} {
		files["openai-key"] = at(name)
		head := &l7.RequestHead{Fields: l7.Fields{{Name: "authorization", Value: "Bearer x"}}}
		err := New(files).Inject(service("openai"), head)
		unheld, ok := errors.AsType[*UnheldError](err)
		if !errors.Is(err, want) || !ok || unheld.Secret != "openai-key" {
			t.Errorf("%s: %v, want %v", name, err, want)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "openai-key") || strings.Contains(text, apiKey) || strings.Contains(text, dir) {
			t.Errorf("%s: the record would say %q", name, text)
		}
	}
	for what, h := range map[string]*Holder{"none": nil, "others": New(map[string]string{"x": at("world")})} {
		if err := h.Inject(service("openai"), &l7.RequestHead{}); !errors.Is(err, errUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestGroupReads: as Kubernetes gives secrets to programs that are not root.
func TestGroupReads(t *testing.T) {
	h, path := holding(t, apiKey)
	write(t, path, apiKey, 0o440, time.Hour)
	if err := h.Inject(service("openai"), &l7.RequestHead{}); err != nil {
		t.Error(err)
	}
}

// shown is what a service is shown; "" if nothing may be forwarded to it.
func shown(h *Holder) string {
	head := &l7.RequestHead{}
	if h.Inject(service("anthropic"), head) != nil {
		return ""
	}
	return head.Fields.Get("x-api-key")
}

// TestRotates: what the file has now is what counts, whatever way it was changed.
func TestRotates(t *testing.T) {
	h, path := holding(t, "one")
	steps := []struct {
		what, want string
		do         func()
	}{
		{"first", "one", func() {}},
		{"written again", "two", func() { write(t, path, "two", 0o600, time.Minute) }},
		{"replaced, with the time of before", "new", func() {
			write(t, path+".new", "new", 0o600, time.Minute)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}},
		{"opened to others", "", func() { write(t, path, "new", 0o644, time.Minute) }},
		{"closed to them", "new", func() { write(t, path, "new", 0o600, time.Minute) }},
		{"taken back", "", func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"given again", "six", func() { write(t, path, "six", 0o600, 0) }},
		{"written within the same tick", "xis", func() {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, "xis", 0o600, 0)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"emptied", "", func() { write(t, path, "", 0o600, 0) }},
	}
	for _, s := range steps {
		s.do()
		for range 2 {
			if got := shown(h); got != s.want {
				t.Errorf("%s: shown %q, want %q", s.what, got, s.want)
			}
		}
	}
}

// TestNothingShowsIt: however a secret, or what holds one, is printed, encoded or logged.
func TestNothingShowsIt(t *testing.T) {
	h, _ := holding(t, apiKey)
	if shown(h) != apiKey {
		t.Fatal("the secret is not held")
	}
	secret := h.secrets["openai-key"].secret
	type nest struct {
		Secret Secret
		secret Secret
		Many   []Secret
		By     map[string]Secret
	}
	all := []any{
		secret, &secret, h, *h, h.secrets["openai-key"], h.secrets, &UnheldError{"openai-key", errOpen},
		nest{secret, secret, []Secret{secret}, map[string]Secret{"k": secret}},
	}
	var texts []string
	for _, v := range all {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%c"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		encoded, err := json.Marshal(v)
		texts = append(texts, string(encoded), fmt.Sprint(err))
	}
	var log strings.Builder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}), zapcore.AddSync(&log), zap.DebugLevel)
	for _, v := range all {
		zap.New(core).Info("held", zap.Any("v", v), zap.Reflect("r", v), zap.Inline(secret), zap.Object("o", secret), zap.Stringer("s", secret))
		zap.New(core).Sugar().Infow("held", "v", v)
	}
	texts = append(texts, log.String())
	for _, text := range texts {
		// Hexadecimal, too.
		if strings.Contains(text, apiKey) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", apiKey)) || strings.Contains(text, "sk-") {
			t.Errorf("it says %s", text)
		}
	}
	if got := fmt.Sprintf("%v %s", secret, []Secret{secret}); got != "[redacted] [[redacted]]" {
		t.Errorf("it says %s", got)
	}
	if !strings.Contains(log.String(), redacted) {
		t.Errorf("the log says %s", log.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{apiKey, " key\r\n", "two\nlines", "", "\x00", "Bearer key"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		secret, err := parse(text)
		if err != nil {
			return
		}
		got := secret.reveal()
		if got == "" || strings.ContainsAny(got, " \t\r\n\x00\x7f") || strings.TrimSpace(string(text)) != got {
			t.Errorf("parse(%q) = %q", text, got)
		}
	})
}

// BenchmarkInject: what a crossing pays for a secret that is held.
func BenchmarkInject(b *testing.B) {
	h, _ := holding(b, apiKey)
	s, head := service("openai"), &l7.RequestHead{Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Inject(s, head); err != nil {
			b.Fatal(err)
		}
	}
}
