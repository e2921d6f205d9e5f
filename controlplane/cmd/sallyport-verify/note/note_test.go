package note

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// vectors are those of C2SP: signed-note and tlog-cosignature.
const (
	exampleKey  = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
	exampleNote = "This is an example message.\n\n" +
		"— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

func TestExample(t *testing.T) {
	k, err := ParseKey(exampleKey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Parse([]byte(exampleNote))
	if err != nil || len(n.Signatures) != 1 || !n.Signatures[0].Of(k) {
		t.Fatal(n, err)
	}
	if _, err := n.Verify(&n.Signatures[0], k); err != nil {
		t.Error(err)
	}
	n.Text = bytes.Replace(n.Text, []byte("an"), []byte("no"), 1)
	if _, err := n.Verify(&n.Signatures[0], k); err == nil {
		t.Error("another text is signed")
	}
}

// TestKeyRefused: a key is its name, its ID, and one of two types.
func TestKeyRefused(t *testing.T) {
	for name, key := range map[string]string{
		"nothing":               "",
		"no ID":                 "example.com/foo+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"no name":               "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"a space":               "example com+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"another name":          "example.com/fox+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"another ID":            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"an ID in capitals":     "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"another type":          "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"a shorter key":         "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
		"base64 in another way": "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
	} {
		if k, err := ParseKey(key); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
}

// TestNoteRefused: a note has one form.
func TestNoteRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"no signature":       "This is an example message.\n\n",
		"no end":             strings.TrimSuffix(exampleNote, "\n"),
		"a hyphen":           strings.Replace(exampleNote, "—", "-", 1),
		"two spaces":         strings.Replace(exampleNote, "— ", "—  ", 1),
		"a tab":              strings.Replace(exampleNote, "an ", "an\t", 1),
		"a return":           strings.Replace(exampleNote, "message.\n", "message.\r\n", 1),
		"not UTF-8":          strings.Replace(exampleNote, "an ", "an\xff", 1),
		"loose base64":       strings.Replace(exampleNote, "aQM=", "aQN=", 1),
		"no padding":         strings.Replace(exampleNote, "aQM=", "aQM", 1),
		"a short signature":  "a\n\n— example.com/foo Uw2QOg==\n",
		"something behind":   exampleNote + "x\n",
		"too many":           "a\n\n" + strings.Repeat("— example.com/foo Uw2QOkk=\n", maxSignatures+1),
		"too large":          strings.Repeat("a", MaxSize) + "\n\n— example.com/foo Uw2QOkk=\n",
		"an empty line last": exampleNote + "\n",
	} {
		if n, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %q", name, n.Text)
		}
	}
}

// TestCheckpoint: three lines, and what is behind them.
func TestCheckpoint(t *testing.T) {
	const root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	for text, want := range map[string]uint64{
		"example.com/log\n20852163\n" + root:                 20852163,
		"example.com/log\n0\n" + root:                        0,
		"example.com/log\n7\n" + root + "extension\n":        7,
		"example.com/log\n9223372036854775807\n" + root:      1<<63 - 1,
		"example.com/log\n9223372036854775808\n" + root:      1 << 63,
		"example.com/log\n007\n" + root:                      1 << 63,
		"example.com/log\n+7\n" + root:                       1 << 63,
		"\n7\n" + root:                                       1 << 63,
		"example.com/log\n7\n":                               1 << 63,
		"example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajg==\n": 1 << 63,
		"example.com/log\n7\n" + root + "\nmore\n":           1 << 63,
	} {
		c, err := (&Note{Text: []byte(text)}).Checkpoint()
		if (err == nil) != (want < 1<<63) || err == nil && (c.Size != want || c.Origin != "example.com/log") {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// TestCosignature is the vector of C2SP tlog-cosignature, as far as its key is not told: the
// form is taken, and another key's signature is not.
func TestCosignature(t *testing.T) {
	n, err := Parse([]byte("example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
		"— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" +
		"— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"))
	if err != nil || len(n.Signatures) != 2 || len(n.Signatures[1].Value) != 72 {
		t.Fatal(n, err)
	}
	if at, err := n.Verify(&n.Signatures[1], &Key{Type: Cosignature, Public: make([]byte, 32)}); err == nil {
		t.Errorf("another key signed it at %s", at.Format(time.RFC3339))
	}
	for _, value := range [][]byte{nil, make([]byte, 71), bytes.Repeat([]byte{0xff}, 72)} {
		if _, err := n.Verify(&Signature{Value: value}, &Key{Type: Cosignature, Public: make([]byte, 32)}); err == nil {
			t.Errorf("%x is a cosignature", value)
		}
	}
}

// FuzzNote: what is taken here, x/mod takes; and what it has verified, is verified here.
func FuzzNote(f *testing.F) {
	private, public, err := note.GenerateKey(rand.Reader, "example.com/log")
	if err != nil {
		f.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"}, signer)
	if err != nil {
		f.Fatal(err)
	}
	theirs, err := note.NewVerifier(public)
	if err != nil {
		f.Fatal(err)
	}
	ours, err := ParseKey(public)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(exampleNote))
	f.Add(append(bytes.Clone(signed), exampleNote[29:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		opened, openErr := note.Open(data, note.VerifierList(theirs))
		n, err := Parse(data)
		if err != nil {
			if openErr == nil && len(data) <= MaxSize && len(opened.UnverifiedSigs)+len(opened.Sigs) <= maxSignatures {
				t.Errorf("%q is refused: %v", data, err)
			}
			return
		}
		verified := false
		for i := range n.Signatures {
			if s := &n.Signatures[i]; s.Of(ours) {
				_, err := n.Verify(s, ours)
				verified = verified || err == nil
			}
		}
		if openErr == nil != verified || verified && opened.Text != string(n.Text) {
			t.Errorf("%q: verified %t, and theirs %v", data, verified, openErr)
		}
		_, _ = n.Checkpoint()
	})
}
