// Package sasltest has the server halves of the login mechanisms, for the fakes
// of SMTP, POP3 and IMAP and for tests of the client halves. They check
// everything that a strict server would, and take nothing in good faith from
// the package that they test.
package sasltest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// An Account is who may log in.
type Account struct {
	User, Password string
	// Token is the access token of OAUTHBEARER and XOAUTH2; "" refuses all.
	Token string
}

// A Server is one exchange under way.
type Server interface {
	// Next takes a response of the client, nil at first if there is no initial
	// one. It gives the next challenge, or done with the name of who logged in.
	// Its error is a refusal.
	Next(response []byte) (challenge []byte, done bool, user string, err error)
}

// ErrRefused is the error of a wrong password, token or proof.
var ErrRefused = errors.New("sasltest: refused")

// ErrMalformed is in the error for a client that breaks the mechanism.
var ErrMalformed = errors.New("sasltest: malformed response")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Mechanisms are those that New knows.
var Mechanisms = []string{
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS",
	"SCRAM-SHA-256-PLUS", "NTLM", "OAUTHBEARER", "XOAUTH2", "EXTERNAL",
}

// A Setting is what a server knows of itself.
type Setting struct {
	// Accounts are who may log in.
	Accounts []Account
	// Offered is what the server offers; SCRAM looks for a downgrade there.
	Offered []string
	// Host and Service are the server's names in DIGEST-MD5 and NTLM; empty
	// ones are not checked.
	Host, Service string
	// TLS is the server's state of the connection; nil in clear.
	TLS *tls.ConnectionState
	// Leaf is the server's certificate in DER, for channel bindings.
	Leaf []byte
	// OldBinding has SCRAM know tls-server-end-point alone.
	OldBinding bool
}

// New begins an exchange; nil for a mechanism that is not known.
func New(mechanism string, s Setting) Server {
	switch mechanism {
	case "PLAIN":
		return &plain{s: s}
	case "LOGIN":
		return &login{s: s}
	case "CRAM-MD5":
		return &cram{s: s}
	case "DIGEST-MD5":
		return &digest{s: s}
	case "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS":
		return newScram(mechanism, s)
	case "NTLM":
		return &ntlm{s: s}
	case "OAUTHBEARER", "XOAUTH2":
		return &bearer{s: s, name: mechanism}
	case "EXTERNAL":
		return &external{s: s}
	}
	return nil
}

func (s *Setting) find(user string) *Account {
	for i := range s.Accounts {
		if s.Accounts[i].User == user {
			return &s.Accounts[i]
		}
	}
	return nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

type plain struct{ s Setting }

func (p *plain) Next(response []byte) ([]byte, bool, string, error) {
	if response == nil {
		return []byte{}, false, "", nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return nil, false, "", malformed("PLAIN of %d parts", len(parts))
	}
	a := p.s.find(parts[1])
	if a == nil || !equal(a.Password, parts[2]) || parts[0] != "" && parts[0] != parts[1] {
		return nil, false, "", ErrRefused
	}
	return nil, true, a.User, nil
}

type login struct {
	s    Setting
	user *string
}

func (l *login) Next(response []byte) ([]byte, bool, string, error) {
	switch {
	case response == nil && l.user == nil:
		return []byte("Username:"), false, "", nil
	case l.user == nil:
		user := string(response)
		l.user = &user
		return []byte("Password:"), false, "", nil
	}
	a := l.s.find(*l.user)
	if a == nil || !equal(a.Password, string(response)) {
		return nil, false, "", ErrRefused
	}
	return nil, true, a.User, nil
}

type cram struct {
	s         Setting
	challenge string
}

func (c *cram) Next(response []byte) ([]byte, bool, string, error) {
	if c.challenge == "" {
		if response != nil {
			return nil, false, "", malformed("CRAM-MD5 has no initial response")
		}
		c.challenge = "<" + rand.Text() + "@sasltest.invalid>"
		return []byte(c.challenge), false, "", nil
	}
	i := strings.LastIndexByte(string(response), ' ')
	if i < 0 {
		return nil, false, "", malformed("CRAM-MD5 without a space")
	}
	a := c.s.find(string(response[:i]))
	if a == nil {
		return nil, false, "", ErrRefused
	}
	h := hmac.New(md5.New, []byte(a.Password))
	h.Write([]byte(c.challenge))
	if !equal(hex.EncodeToString(h.Sum(nil)), string(response[i+1:])) {
		return nil, false, "", ErrRefused
	}
	return nil, true, a.User, nil
}

// external is for a client that the TLS layer knows.
type external struct{ s Setting }

func (e *external) Next(response []byte) ([]byte, bool, string, error) {
	if response == nil {
		return []byte{}, false, "", nil
	}
	if e.s.TLS == nil || len(e.s.TLS.PeerCertificates) == 0 {
		return nil, false, "", ErrRefused
	}
	name := e.s.TLS.PeerCertificates[0].Subject.CommonName
	if len(response) > 0 && string(response) != name {
		return nil, false, "", ErrRefused
	}
	return nil, true, name, nil
}

type bearer struct {
	s      Setting
	name   string
	failed bool
}

func (b *bearer) Next(response []byte) ([]byte, bool, string, error) {
	dummy := "\x01"
	if b.name == "XOAUTH2" {
		dummy = ""
	}
	switch {
	case b.failed && string(response) != dummy:
		return nil, false, "", malformed("%s: %d bytes after the reason of the refusal", b.name, len(response))
	case b.failed:
		return nil, false, "", ErrRefused
	case response == nil:
		return []byte{}, false, "", nil
	}
	parts := strings.Split(string(response), "\x01")
	user, token, ok := b.parse(parts)
	if !ok {
		return nil, false, "", malformed("%s", b.name)
	}
	a := b.s.find(user)
	if a == nil || a.Token == "" || !equal("Bearer "+a.Token, token) {
		b.failed = true
		return []byte(`{"status":"invalid_token","schemes":"bearer","scope":"mail"}`), false, "", nil
	}
	return nil, true, a.User, nil
}

func (b *bearer) parse(parts []string) (user, token string, ok bool) {
	if len(parts) < 3 || parts[len(parts)-1] != "" || parts[len(parts)-2] != "" {
		return "", "", false
	}
	for _, p := range parts[1:] {
		if v, found := strings.CutPrefix(p, "auth="); found {
			token = v
		}
	}
	if b.name == "XOAUTH2" {
		user, ok = strings.CutPrefix(parts[0], "user=")
		return user, token, ok && len(parts) == 4
	}
	user, ok = strings.CutPrefix(parts[0], "n,a=")
	if !ok || !strings.HasSuffix(user, ",") {
		return "", "", false
	}
	user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimSuffix(user, ","))
	return user, token, true
}
