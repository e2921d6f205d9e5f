package attest

import (
	"context"
	"net"
	"net/http"

	"go.uber.org/zap"
)

type peerKey struct{}

// ConnContext is http.Server's: it attests who connected to its Unix socket.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	p, err := New().Of(u)
	if err != nil {
		return ctx // Only refuses who is not attested
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// Only lets requests of those through who satisfy the selectors. The server's
// ConnContext must be the one here.
func Only(who Selectors, next http.Handler, log *zap.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p, ok := req.Context().Value(peerKey{}).(*Peer)
		if ok {
			satisfied, found, err := p.Attest([]Selectors{who})
			ok = len(satisfied) == 1
			if !ok {
				log.Warn("request refused", zap.Strings("found", found.Facts()), zap.Error(err))
			}
		}
		if !ok {
			http.Error(w, `{"error":"permission denied"}`, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, req)
	})
}
