package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"
)

// The signer protocol: HTTP/1.1 with JSON on a Unix socket, so that a few lines in
// any language put whatever holds keys behind it. Bytes are in base64.
//
//	POST   /v1/keys/NAME       201 {"publicKey": PKIX DER}; 409 if there is one
//	GET    /v1/keys/NAME       200 {"publicKey": PKIX DER}; 404 if there is none
//	POST   /v1/keys/NAME/sign  {"digest": SHA-256}
//	                           200 {"signature": ASN.1 DER}; 404
//	DELETE /v1/keys/NAME       204, also if there is none
//
// Any other status is a fault, and {"error": TEXT} says which.
type keyMessage struct {
	PublicKey []byte `json:"publicKey,omitempty"`
	Digest    []byte `json:"digest,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Error     string `json:"error,omitempty"`
}

const (
	maxMessage = 16 << 10
	// patience is for one request: a cloud's key service may be at the other end.
	patience = 30 * time.Second
)

// Remote has another process keep the keys and sign with them, so that whoever
// takes over the authority can sign while he is there, and takes no key along.
type Remote struct {
	socket string
	http   http.Client
}

// Dial makes a Remote of the signer at a Unix socket.
func Dial(socket string) *Remote {
	var d net.Dialer
	return &Remote{socket, http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Make implements Store.
func (r *Remote) Make(name string) (crypto.Signer, error) { return r.signer(http.MethodPost, name) }

// Load implements Store.
func (r *Remote) Load(name string) (crypto.Signer, error) { return r.signer(http.MethodGet, name) }

// Remove implements Store.
func (r *Remote) Remove(name string) error {
	_, err := r.ask(http.MethodDelete, name, "", nil)
	return err
}

func (r *Remote) signer(method, name string) (crypto.Signer, error) {
	got, err := r.ask(method, name, "", nil)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(got.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("signer at %q: key %q: %w", r.socket, name, err)
	}
	pub, err := CheckPublic(parsed)
	if err != nil {
		return nil, fmt.Errorf("signer at %q: key %q: %w", r.socket, name, err)
	}
	return &remoteSigner{r, name, pub}, nil
}

// ask makes one request. 404 is fs.ErrNotExist, 409 fs.ErrExist.
func (r *Remote) ask(method, name, what string, say *keyMessage) (*keyMessage, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	var body io.Reader
	if say != nil {
		text, err := json.Marshal(say)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	// A crypto.Signer has no context; the client's timeout bounds the request.
	req, err := http.NewRequestWithContext(context.Background(), method, "http://signer/v1/keys/"+name+what, body)
	if err != nil {
		return nil, err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask signer: %w", err)
	}
	defer resp.Body.Close()
	got := &keyMessage{}
	if resp.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxMessage)).Decode(got); err != nil {
			return nil, fmt.Errorf("signer at %q: key %q: it answers %s: %w", r.socket, name, resp.Status, err)
		}
	}
	return got, statusError(r.socket, name, resp, got)
}

func statusError(socket, name string, resp *http.Response, got *keyMessage) error {
	var kind error
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		kind = fs.ErrNotExist
	case http.StatusConflict:
		kind = fs.ErrExist
	default:
		kind = errors.New(resp.Status)
	}
	return fmt.Errorf("signer at %q: key %q: %w: %s", socket, name, kind, got.Error)
}

// remoteSigner is one key of a Remote.
type remoteSigner struct {
	r    *Remote
	name string
	pub  *ecdsa.PublicKey
}

// Public implements crypto.Signer.
func (s *remoteSigner) Public() crypto.PublicKey { return s.pub }

// Sign implements crypto.Signer. What comes back is verified: a signer that signs
// with another key is noticed here, not by those who get the SVID.
func (s *remoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, fmt.Errorf("sign with key %q: want a digest of SHA-256", s.name)
	}
	got, err := s.r.ask(http.MethodPost, s.name, "/sign", &keyMessage{Digest: digest})
	if err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(s.pub, digest, got.Signature) {
		return nil, fmt.Errorf("sign with key %q: the signer at %q gave a signature of another key", s.name, s.r.socket)
	}
	return got.Signature, nil
}
