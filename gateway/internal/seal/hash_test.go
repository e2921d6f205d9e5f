package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
)

func hashedFor(days int) kept.Content {
	return kept.Content{Intent: "chat", How: kept.Hash, Days: days}
}

// theSalts are those of a directory, by their names.
func theSalts(t testing.TB, s *Sealer) map[string][]byte {
	t.Helper()
	all, err := s.sys.List(s.salts.dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range all {
		text, err := disk.ReadFile(s.sys, filepath.Join(s.salts.dir, e.Name))
		if err != nil {
			t.Fatal(err)
		}
		salt, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(salt) != 32 {
			t.Fatalf("the salt %s is %q, %v", e.Name, text, err)
		}
		out[e.Name] = salt
	}
	return out
}

// TestHash: who has the salt can check a guess, whatever pieces the content came in.
func TestHash(t *testing.T) {
	s := opened(t, disktest.NewMemory(), nil)
	c := begin(t, s, id1, hashedFor(30))
	for _, b := range []byte(prompt) {
		if err := c.Request([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	got := c.Close()
	if got.Answer != (Kept{}) {
		t.Errorf("of an answer without content it says %+v", got.Answer)
	}
	var salt []byte
	for name, text := range theSalts(t, s) {
		if salt = text; !strings.Contains(got.Request.Digest, ":"+strings.Split(name, ".")[1]+":") {
			t.Errorf("%q does not name the salt %s", got.Request.Digest, name)
		}
	}
	if want := Hash(salt, id1, "request", []byte(prompt)); got.Request != (Kept{Digest: want}) {
		t.Errorf("it says %+v, want %s", got.Request, want)
	}
	different := map[string]bool{got.Request.Digest: true}
	for _, d := range []string{
		Hash(salt, id1, "answer", []byte(prompt)), Hash(salt, id2, "request", []byte(prompt)), Hash(salt, id1, "request", []byte(prompt+".")),
		Hash(bytes.Repeat([]byte{1}, 32), id1, "request", []byte(prompt)), keep(t, s, id2, hashedFor(30), prompt, answer).Request.Digest,
	} {
		different[d] = true
	}
	if len(different) != 5 { // the third and the last are one
		t.Errorf("hashes: %v", different)
	}
	if n := len(theSalts(t, s)); n != 1 {
		t.Errorf("%d salts of one day", n)
	}
	if all := parts(t, s); len(all) != 0 {
		t.Errorf("it keeps %v", all)
	}
}

// TestOpenSSL computes the hash as FORMAT.md says, with a program of others.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl")
	}
	salt := bytes.Repeat([]byte{0xab}, 32)
	cmd := exec.Command(openssl, "dgst", "-sha256", "-mac", "hmac", "-macopt", "hexkey:"+hex.EncodeToString(salt), "-r")
	cmd.Stdin = strings.NewReader(id1 + "\nrequest\n" + prompt)
	out, err := cmd.Output()
	if got := Hash(salt, id1, "request", []byte(prompt)); err != nil || !strings.HasSuffix(got, ":"+strings.Fields(string(out))[0]) {
		t.Errorf("openssl says %s, %v, and here it is %s", out, err, got)
	}
}

// TestSalts: one for each day, kept as long as the longest retention that it was for.
func TestSalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // from 2000-01-01 on
		memory := disktest.NewMemory()
		s := opened(t, memory, nil)
		for _, days := range []int{1, 3, 2} {
			begin(t, s, id1, hashedFor(days)).Close()
		}
		time.Sleep(24 * time.Hour) //nolint:forbidigo // in a bubble
		begin(t, s, id1, hashedFor(1)).Close()
		untils := func() (all []string) {
			for name := range theSalts(t, s) {
				fields := strings.Split(name, ".")
				all = append(all, fields[0]+" until "+fields[2])
			}
			return all
		}
		has := func(want ...string) {
			t.Helper()
			s.upkeep(time.Now())
			if got := untils(); len(got) != len(want) {
				t.Errorf("there are %q, want %q", got, want)
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(untils(), "\n"), w) {
					t.Errorf("there are %q, want %q", untils(), w)
				}
			}
		}
		has("20000101 until 20000105", "20000102 until 20000104")
		time.Sleep(3 * 24 * time.Hour) //nolint:forbidigo // in a bubble: the 5th
		has("20000101 until 20000105")
		time.Sleep(24 * time.Hour) //nolint:forbidigo // in a bubble
		has()
	})
}

// TestSaltsOfEachProcess: another one has its own, so that no file is written by two.
func TestSaltsOfEachProcess(t *testing.T) {
	memory := disktest.NewMemory()
	first, second := opened(t, memory, nil), opened(t, memory, nil)
	a, b := keep(t, first, id1, hashedFor(1), prompt, ""), keep(t, second, id1, hashedFor(1), prompt, "")
	if a == b || len(theSalts(t, first)) != 2 {
		t.Errorf("they say %v and %v", a, b)
	}
}

// TestNoSaltNoHash: a hash whose salt cannot be kept could never be checked.
func TestNoSaltNoHash(t *testing.T) {
	sys := &disktest.Faulty{System: disktest.NewMemory()}
	s := opened(t, sys, nil)
	sys.Set(disktest.Faults{Sync: true})
	if _, err := s.Begin(id1, 1, hashedFor(1)); !errors.Is(err, disktest.ErrDisk) {
		t.Errorf("it begins: %v", err)
	}
	sys.Set(disktest.Faults{})
	begin(t, s, id1, hashedFor(1))
}
