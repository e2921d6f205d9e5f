package keys

import (
	"context"
	"crypto"
	"crypto/rand"
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

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/internal/unixsock"
)

// Listen listens at a socket for Serve. Everybody may connect: Serve says who gets
// further.
func Listen(socket string) (net.Listener, error) {
	if err := unixsock.CheckPath(socket); err != nil {
		return nil, err
	}
	return unixsock.Listen(socket, 0o666)
}

// Serve is a signer: it serves a Store to processes of the users until ctx ends.
// Nobody gets a key; each one that is made is logged.
func Serve(ctx context.Context, l net.Listener, store Store, users attest.Selectors, log *zap.Logger) error {
	s := &signer{store, log.Named("signer")}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/keys/{name}", s.make)
	mux.HandleFunc("GET /v1/keys/{name}", s.load)
	mux.HandleFunc("POST /v1/keys/{name}/sign", s.sign)
	mux.HandleFunc("DELETE /v1/keys/{name}", s.remove)
	server := &http.Server{Handler: attest.Only(users, mux, s.log), ConnContext: attest.ConnContext, ReadTimeout: patience, IdleTimeout: time.Minute, MaxHeaderBytes: 4 << 10}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve signer: %w", err)
	}
	return nil
}

type signer struct {
	store Store
	log   *zap.Logger
}

func (s *signer) make(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("name")
	key, err := s.store.Make(name)
	if err == nil {
		s.log.Info("key made", zap.String("key", name))
	}
	s.public(w, http.StatusCreated, key, err)
}

func (s *signer) load(w http.ResponseWriter, req *http.Request) {
	key, err := s.store.Load(req.PathValue("name"))
	s.public(w, http.StatusOK, key, err)
}

// public answers with a key's public half.
func (s *signer) public(w http.ResponseWriter, status int, key crypto.Signer, err error) {
	if err != nil {
		s.fault(w, err)
		return
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		s.fault(w, err)
		return
	}
	answer(w, status, &keyMessage{PublicKey: der})
}

func (s *signer) sign(w http.ResponseWriter, req *http.Request) {
	var asked keyMessage
	if err := json.NewDecoder(io.LimitReader(req.Body, maxMessage)).Decode(&asked); err != nil || len(asked.Digest) != sha256.Size {
		answer(w, http.StatusBadRequest, &keyMessage{Error: "want a digest of SHA-256"})
		return
	}
	key, err := s.store.Load(req.PathValue("name"))
	if err != nil {
		s.fault(w, err)
		return
	}
	signature, err := key.Sign(rand.Reader, asked.Digest, crypto.SHA256)
	if err != nil {
		s.fault(w, err)
		return
	}
	answer(w, http.StatusOK, &keyMessage{Signature: signature})
}

func (s *signer) remove(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("name")
	if err := s.store.Remove(name); err != nil {
		s.fault(w, err)
		return
	}
	s.log.Info("key removed", zap.String("key", name))
	w.WriteHeader(http.StatusNoContent)
}

func (s *signer) fault(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, fs.ErrExist):
		status = http.StatusConflict
	default:
		s.log.Error("key not used", zap.Error(err))
	}
	answer(w, status, &keyMessage{Error: err.Error()})
}

func answer(w http.ResponseWriter, status int, m *keyMessage) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(m) // a peer that is gone has no use for it
}
