package pop3test

import (
	"crypto/tls"
	"strings"
)

// The account that exists unless [WithUser] names others.
const (
	User     = "user"
	Password = "pop3test-password"
)

type config struct {
	users    []account
	tls      *tls.Config
	implicit bool
	stls     bool
	required bool // no login before TLS
	tokens   map[string]string

	pipelining bool
	apop       bool
	noUser     bool
	noUIDL     bool
	noTOP      bool
	mechanisms []string

	capaSet     bool
	capaBefore  []string
	capaAfter   []string
	capaRefused bool
}

type account struct{ name, password string }

// An Option configures a [Server].
type Option func(*config)

// WithUser adds an account with a maildrop of its own. The first one replaces
// the default account; [Server.Add] puts mail into the first.
func WithUser(name, password string) Option {
	return func(c *config) { c.users = append(c.users, account{name, password}) }
}

// WithTLS speaks TLS from the first byte.
func WithTLS() Option { return func(c *config) { c.implicit = true } }

// WithSTLS offers STLS (RFC 2595).
func WithSTLS() Option { return func(c *config) { c.stls = true } }

// WithTLSRequired offers STLS and refuses every login before it.
func WithTLSRequired() Option {
	return func(c *config) { c.stls, c.required = true, true }
}

// WithTLSConfig replaces the server's throw-away certificate, for tests of
// certificates that are expired or of another host.
func WithTLSConfig(t *tls.Config) Option { return func(c *config) { c.tls = t } }

// WithPipelining announces PIPELINING (RFC 2449 6.6). Without it, a command
// that was sent before the reply to the one before it is a violation.
func WithPipelining() Option { return func(c *config) { c.pipelining = true } }

// WithAPOP puts a time stamp into the greeting and takes APOP.
func WithAPOP() Option { return func(c *config) { c.apop = true } }

// WithAuth announces SASL mechanisms. The server knows PLAIN, LOGIN, CRAM-MD5,
// DIGEST-MD5, SCRAM-SHA-1, SCRAM-SHA-256 and both with -PLUS, NTLM, OAUTHBEARER,
// XOAUTH2 and EXTERNAL, which goes by the common name of the client's
// certificate; others are announced and refused.
func WithAuth(mechanisms ...string) Option {
	return func(c *config) {
		for _, m := range mechanisms {
			c.mechanisms = append(c.mechanisms, strings.ToUpper(m))
		}
	}
}

// WithToken sets the access token that an account has.
func WithToken(user, token string) Option {
	return func(c *config) {
		if c.tokens == nil {
			c.tokens = map[string]string{}
		}
		c.tokens[user] = token
	}
}

// WithoutUser neither announces nor takes USER and PASS.
func WithoutUser() Option { return func(c *config) { c.noUser = true } }

// WithoutUIDL neither announces nor takes UIDL.
func WithoutUIDL() Option { return func(c *config) { c.noUIDL = true } }

// WithoutTOP neither announces nor takes TOP.
func WithoutTOP() Option { return func(c *config) { c.noTOP = true } }

// WithCapabilities announces exactly these capabilities, before and after
// login, whatever the server really does.
func WithCapabilities(before, after []string) Option {
	return func(c *config) { c.capaSet, c.capaBefore, c.capaAfter = true, before, after }
}

// WithoutCapa answers CAPA with -ERR, as servers older than RFC 2449 do.
func WithoutCapa() Option { return func(c *config) { c.capaRefused = true } }

// capabilities returns the lines of CAPA for the state of a session.
func (c *config) capabilities(loggedIn, secure bool) []string {
	if c.capaSet {
		if loggedIn {
			return c.capaAfter
		}
		return c.capaBefore
	}
	list := []string{"RESP-CODES", "AUTH-RESP-CODE"}
	if !c.noTOP {
		list = append(list, "TOP")
	}
	if !c.noUIDL {
		list = append(list, "UIDL")
	}
	if c.pipelining {
		list = append(list, "PIPELINING")
	}
	if !loggedIn {
		if c.stls && !secure {
			list = append(list, "STLS")
		}
		if !c.required || secure {
			if !c.noUser {
				list = append(list, "USER")
			}
			if len(c.mechanisms) > 0 {
				list = append(list, "SASL "+strings.Join(c.mechanisms, " "))
			}
		}
	}
	return append(list, "IMPLEMENTATION pop3test")
}
