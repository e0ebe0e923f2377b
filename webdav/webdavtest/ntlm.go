package webdavtest

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// A connLogin is what is known of one connection: NTLM logs in connections, not
// requests.
type connLogin struct {
	mu       sync.Mutex
	exchange sasltest.Server
	in       bool
}

type connKey struct{}

func withLogin(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, new(connLogin))
}

// connectionLogin plays NTLM and reports whether the connection is logged in.
func (s *Server) connectionLogin(w http.ResponseWriter, r *http.Request) bool {
	c, ok := r.Context().Value(connKey{}).(*connLogin)
	if !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "NTLM ")
	if !sent && c.in {
		w.Header().Set("Persistent-Auth", "true")
		return true
	}
	answer := ""
	msg, err := base64.StdEncoding.DecodeString(token)
	if err == nil && len(msg) > 8 {
		if msg[8] == 1 {
			_, name, _ := strings.Cut(User, `\`) // the account is the same in any domain
			set := sasltest.Setting{Accounts: []sasltest.Account{{User: name, Password: Password}}}
			if cert := s.http.Certificate(); cert != nil {
				set.Leaf, set.TLS = cert.Raw, r.TLS
			}
			c.exchange, c.in = sasltest.New("NTLM", set), false
		}
		if c.exchange != nil {
			challenge, done, _, err := c.exchange.Next(msg)
			if err == nil && done {
				c.in, c.exchange = true, nil
				return true
			}
			if err == nil {
				answer = base64.StdEncoding.EncodeToString(challenge)
			} else {
				c.exchange = nil
			}
		}
	}
	w.Header().Add("WWW-Authenticate", "Negotiate")
	w.Header().Add("WWW-Authenticate", strings.TrimSpace("NTLM "+answer))
	http.Error(w, "Access is denied", http.StatusUnauthorized)
	return false
}
