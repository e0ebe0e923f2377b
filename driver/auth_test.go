package driver

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type noNegotiator struct{}

func (noNegotiator) Start(context.Context, string, string, []byte) (SecurityContext, error) {
	return nil, errors.ErrUnsupported
}

func TestAuthOptions(t *testing.T) {
	n := NewNetwork()
	source := func(context.Context) (Token, error) { return Token{Value: NewSecret("t")}, nil }
	tokens := WithTokenSource(source)
	opts := []Option{
		WithMechanisms("DigestMD5", "gssapi", "OAuth20", "Gossipy", "ClearText", "X-Own", "scram-sha-256-plus"),
		tokens, WithNegotiator(noNegotiator{}), WithDomain("CORP"), WithWorkstation("DESK"), WithSPN("imap/mail.example.com"),
		WithMechanism("x-own", func() Mechanism { return nil }), WithMechanism("x-other", func() Mechanism { return nil }),
	}
	require.NoError(t, Apply(opts, &n))
	assert.Equal(t, []string{"DIGEST-MD5", "GSSAPI", "OAUTHBEARER", "XOAUTH2", "GSSAPI", "CLEARTEXT", "X-OWN", "SCRAM-SHA-256-PLUS"}, n.Mechanisms)
	assert.Equal(t, "CORP", n.Domain)
	assert.Equal(t, "DESK", n.Workstation)
	assert.Equal(t, "imap/mail.example.com", n.SPN)
	assert.Len(t, n.Custom, 2)
	assert.NotNil(t, n.Negotiator)

	other := NewNetwork()
	require.NoError(t, Apply([]Option{tokens}, &other))
	assert.Same(t, n.Tokens, other.Tokens, "one store for all sessions")
}

func TestAuthOptionsRefused(t *testing.T) {
	for want, o := range map[string]Option{
		"driver.TokenSource: the function is nil":            WithTokenSource(nil),
		"driver.Negotiator: the negotiator is nil":           WithNegotiator(nil),
		"driver.Domain: the name is empty":                   WithDomain(""),
		"driver.Domain: the name holds a control character":  WithDomain("a\nb"),
		"driver.Workstation: longer than 512 bytes":          WithWorkstation(strings.Repeat("x", 513)),
		"driver.SPN: \"mail\" is not of the form":            WithSPN("mail"),
		"driver.SPN: \"/mail\" is not of the form":           WithSPN("/mail"),
		"driver.SPN: the name holds a control character":     WithSPN("imap/a\x00"),
		"driver.Mechanism: \"\" is not a mechanism name":     WithMechanism("", func() Mechanism { return nil }),
		"driver.Mechanism: the function is nil":              WithMechanism("X", nil),
		"driver.Mechanisms: \"A B\" is not a mechanism name": WithMechanisms("A B"),
	} {
		n := NewNetwork()
		require.ErrorContains(t, Apply([]Option{o}, &n), want)
	}
}

func TestMechanismsOf(t *testing.T) {
	for name, want := range map[string]string{
		// The documents' names.
		"plain": "PLAIN", "DigestMD5": "DIGEST-MD5", "CramMD5": "CRAM-MD5", "Login": "LOGIN", "ClearText": "CLEARTEXT",
		"APOP": "APOP", "NTLM": "NTLM", "GSSapi": "GSSAPI", "Gossipy": "GSSAPI", "OAuth20": "OAUTHBEARER XOAUTH2",
		// IANA's.
		"SCRAM-SHA-1-PLUS": "SCRAM-SHA-1-PLUS", "scram-sha-256": "SCRAM-SHA-256", "EXTERNAL": "EXTERNAL",
		"XOAUTH2": "XOAUTH2", "OAUTHBEARER": "OAUTHBEARER", "CRAM-MD5": "CRAM-MD5", "DIGEST-MD5": "DIGEST-MD5",
		"x-own": "X-OWN",
	} {
		assert.Equal(t, strings.Fields(want), MechanismsOf(name), name)
	}
}

func TestAuthErrors(t *testing.T) {
	refusal := errors.New("535 no")
	te := &TokenError{Mechanism: "XOAUTH2", Status: "invalid_token\x1b", Scope: strings.Repeat("s", 500), Err: refusal}
	require.ErrorIs(t, te, refusal)
	assert.NotContains(t, te.Error(), "\x1b")
	assert.Less(t, len(te.Error()), 500)
	assert.Contains(t, te.Error(), `XOAUTH2: the server refuses the access token with status "invalid_token\x1b"`)

	me := &MechanismError{Wanted: []string{"NTLM"}, Offered: []string{"A\x1b", strings.Repeat("B", 500)}, Unknown: []string{"X"}, Lacking: []string{"GSSAPI needs a ticket"}}
	assert.NotContains(t, me.Error(), "\x1b")
	assert.Less(t, len(me.Error()), 500)
	assert.Contains(t, me.Error(), "not known here: X")
	assert.Contains(t, me.Error(), "; GSSAPI needs a ticket")
	assert.Contains(t, (&MechanismError{Wanted: []string{"PLAIN"}}).Error(), "it offers no mechanism")
}
