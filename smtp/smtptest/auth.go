package smtptest

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// WithLogin makes the server demand a login before MAIL. It offers PLAIN, LOGIN
// and CRAM-MD5, in clear too unless it offers STARTTLS.
func WithLogin(user, password string) Option {
	return func(s *Server) { s.user, s.pass = user, password }
}

// WithMechanisms sets what AUTH offers: any of PLAIN, LOGIN, CRAM-MD5,
// DIGEST-MD5, SCRAM-SHA-1, SCRAM-SHA-256 and both with -PLUS, NTLM, OAUTHBEARER,
// XOAUTH2 and EXTERNAL, which goes by the common name of the client's
// certificate. Others are offered and refused.
func WithMechanisms(names ...string) Option {
	return func(s *Server) { s.mechanisms = append([]string{}, names...) }
}

// WithToken sets the access token that the user of [WithLogin] has.
func WithToken(token string) Option { return func(s *Server) { s.token = token } }

func (c *conn) auth(args string) {
	mech, initial, has := strings.Cut(args, " ")
	mech = strings.ToUpper(mech)
	if !c.offers("AUTH") || c.user != "" || c.pending != nil {
		c.answer(AUTH, "503 5.5.1 no AUTH now")
		return
	}
	var server sasltest.Server
	if slices.Contains(c.s.mechanisms, mech) {
		server = sasltest.New(mech, c.setting())
	}
	if server == nil {
		c.answer(AUTH, "504 5.5.4 mechanism not known")
		return
	}
	var response []byte
	at := AUTH
	if has {
		var ok bool
		if response, ok = c.decode(initial); !ok {
			return
		}
	}
	for {
		challenge, done, user, err := server.Next(response)
		switch {
		case errors.Is(err, sasltest.ErrMalformed):
			c.violation("%v", err)
			c.answer(at, "535 5.7.8 authentication failed")
			return
		case err != nil:
			c.answer(at, "535 5.7.8 authentication failed")
			return
		case done:
			if c.answer(at, "235 2.7.0 welcome") {
				c.user = cmp.Or(user, "?")
			}
			return
		}
		if !c.answer(at, "334 "+base64.StdEncoding.EncodeToString(challenge)) {
			return
		}
		line, ok := c.line()
		if !ok {
			return
		}
		if response, ok = c.decode(line); !ok {
			return
		}
		at = AuthReply
	}
}

func (c *conn) setting() sasltest.Setting {
	s := sasltest.Setting{
		Accounts: []sasltest.Account{{User: c.s.user, Password: c.s.pass, Token: c.s.token}},
		Offered:  c.s.mechanisms, Service: "smtp",
	}
	if t, ok := c.nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		s.TLS, s.Leaf = &state, c.s.cert.Certificate[0]
	}
	return s
}

// decode reads a response. The client may cancel.
func (c *conn) decode(line string) ([]byte, bool) {
	if line == "*" {
		c.write("501 5.7.0 cancelled\r\n")
		return nil, false
	}
	if line == "=" || line == "" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		c.violation("a response in AUTH that is not base64")
		c.write("501 5.5.2 not base64\r\n")
		return nil, false
	}
	return b, true
}
