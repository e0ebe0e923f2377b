package imaptest

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"

	"github.com/maildriver/maildriver/internal/sasl/sasltest"
	"github.com/maildriver/maildriver/internal/testcert"
)

// WithAuth sets the SASL mechanisms instead of PLAIN alone: any of PLAIN, LOGIN,
// CRAM-MD5, DIGEST-MD5, SCRAM-SHA-1, SCRAM-SHA-256 and both with -PLUS, NTLM,
// OAUTHBEARER, XOAUTH2 and EXTERNAL, which goes by the common name of the
// client's certificate; others are announced and refused.
func WithAuth(mechanisms ...string) Option {
	return func(c *config) {
		for _, m := range mechanisms {
			c.mechanisms = append(c.mechanisms, strings.ToUpper(m))
		}
	}
}

// WithToken sets the access token that the account has.
func WithToken(token string) Option { return func(c *config) { c.token = token } }

// Violations gives what clients did that the mechanisms forbid.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// saslSession is a session of the memory server with the mechanisms of
// [WithAuth].
type saslSession struct {
	imapserver.SessionIMAP4rev2
	s    *Server
	conn *imapserver.Conn
}

func (x *saslSession) AuthenticateMechanisms() []string { return x.s.cfg.mechanisms }

func (x *saslSession) Authenticate(mech string) (sasl.Server, error) {
	cfg := &x.s.cfg
	set := sasltest.Setting{
		Accounts: []sasltest.Account{{User: cfg.user, Password: cfg.password, Token: cfg.token}},
		Offered:  cfg.mechanisms, Service: "imap",
	}
	if t := tlsOf(x.conn.NetConn()); t != nil {
		state := t.ConnectionState()
		set.TLS, set.Leaf = &state, testcert.Local().Certificate[0]
	}
	var server sasltest.Server
	if slices.Contains(cfg.mechanisms, mech) {
		server = sasltest.New(mech, set)
	}
	if server == nil {
		return nil, &imap.Error{Type: imap.StatusResponseTypeNo, Text: "mechanism not available"}
	}
	return &saslServer{x, server}, nil
}

// tlsOf finds the TLS of a connection: around the one that was accepted after
// STARTTLS, in it otherwise.
func tlsOf(conn net.Conn) *tls.Conn {
	if p, ok := conn.(*patient); ok {
		conn = p.Conn
	}
	t, _ := conn.(*tls.Conn)
	return t
}

type saslServer struct {
	x      *saslSession
	server sasltest.Server
}

func (a *saslServer) Next(response []byte) ([]byte, bool, error) {
	challenge, done, _, err := a.server.Next(response)
	switch {
	case errors.Is(err, sasltest.ErrMalformed):
		a.x.s.mu.Lock()
		a.x.s.violations = append(a.x.s.violations, err.Error())
		a.x.s.mu.Unlock()
		return nil, false, imapserver.ErrAuthFailed
	case err != nil:
		return nil, false, imapserver.ErrAuthFailed
	case done:
		return nil, true, a.x.Login(a.x.s.cfg.user, a.x.s.cfg.password)
	}
	return challenge, false, nil
}
