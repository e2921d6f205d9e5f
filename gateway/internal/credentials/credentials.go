// Package credentials holds the secrets that services want to be shown, such as the API
// keys of AI providers, and shows them in place of what callers send: workloads never see
// them. A secret is in a file of its own, and what the file has now is what counts, so that
// a key is rotated, or taken back, without a restart.
//
// The one invariant: a request to a service that has a credential carries that one or does
// not leave, and nothing else of what could be one.
package credentials

import (
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// UnheldError is why a secret cannot be shown. Its text names the secret, and has nothing of it.
type UnheldError struct {
	Secret string // its name
	Why    error
}

// Error names the secret.
func (u *UnheldError) Error() string { return fmt.Sprintf("secret %s: %v", u.Secret, u.Why) }

// Unwrap is why.
func (u *UnheldError) Unwrap() error { return u.Why }

// Why a secret cannot be shown.
var (
	errUnknown   = errors.New("the gateway's bootstrap file names none of that name")
	errMissing   = errors.New("its file is not there")
	errUnread    = errors.New("its file cannot be read")
	errIrregular = errors.New("its file is no regular file")
	errOpen      = errors.New("its file's mode lets others read it, or its group write it")
	errLong      = fmt.Errorf("its file is longer than %d bytes", maxSecret)
	errForm      = errors.New("its file does not have one line of visible ASCII")
)

// Holder holds secrets. It is safe for concurrent use. A nil Holder holds none.
type Holder struct {
	secrets map[string]*file // never written to
}

// New holds the secrets of files, by name. A file is read when it is needed.
func New(files map[string]string) *Holder {
	h := &Holder{secrets: make(map[string]*file, len(files))}
	for name, path := range files {
		h.secrets[name] = &file{path: path}
	}
	return h
}

// Inject sets the credential of a service in the head of a request to it, in place of all
// that the caller sent as one. It does nothing to the head of a service that has none. Its
// error is an *UnheldError: the request must not be forwarded then. The head must not be logged
// after it.
func (h *Holder) Inject(s *policy.Service, head *l7.RequestHead) error {
	if s.Credential == "" {
		return nil
	}
	secret, err := h.get(s.Credential)
	if err != nil {
		return &UnheldError{s.Credential, err}
	}
	head.Fields.DelFunc(isCredential)
	if s.Protocol == "anthropic" {
		head.Fields.Set("x-api-key", secret.reveal())
	} else {
		head.Fields.Set("authorization", "Bearer "+secret.reveal())
	}
	return nil
}

func (h *Holder) get(name string) (Secret, error) {
	if h == nil || h.secrets[name] == nil {
		return Secret{}, errUnknown
	}
	return h.secrets[name].get()
}

// isCredential names the fields by which services know who asks. It takes an underscore
// for a dash: CGI and WSGI servers do so too.
func isCredential(name string) bool {
	for _, c := range [...]string{
		"authorization", "proxy-authorization", "cookie",
		"x-api-key",      // Anthropic
		"api-key",        // Azure
		"x-goog-api-key", // Google
	} {
		if same(name, c) {
			return true
		}
	}
	return false
}

func same(name, dashed string) bool {
	if len(name) != len(dashed) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c != dashed[i] && (c != '_' || dashed[i] != '-') {
			return false
		}
	}
	return true
}
