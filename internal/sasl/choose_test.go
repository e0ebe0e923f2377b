package sasl

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

type noTickets struct{}

func (noTickets) Start(context.Context, string, string, []byte) (driver.SecurityContext, error) {
	return nil, errors.New("no ticket")
}

func TestChoose(t *testing.T) {
	cs, _, _ := handshake(t, 0)
	insecure, named := driver.WithInsecureAuth(), driver.WithMechanisms
	const all = "ANONYMOUS APOP CLEARTEXT CRAM-MD5 DIGEST-MD5 EXTERNAL GSSAPI LOGIN NTLM OAUTHBEARER PLAIN SCRAM-SHA-1 " +
		"SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS USER XOAUTH2"
	tests := []struct {
		name    string
		offered string
		opts    []driver.Option
		tls     bool
		service string
		want    string
		kind    driver.Kind
		says    string
	}{
		{name: "everything in TLS", offered: all, tls: true, want: "SCRAM-SHA-256-PLUS"},
		{name: "everything in clear", offered: all, want: "SCRAM-SHA-256"},
		{name: "SHA-1 with binding before SHA-256 without", offered: "SCRAM-SHA-256 SCRAM-SHA-1-PLUS", tls: true, want: "SCRAM-SHA-1-PLUS"},
		{name: "digests in clear", offered: "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 APOP USER", want: "DIGEST-MD5"},
		{name: "CRAM-MD5 in clear", offered: "PLAIN LOGIN CRAM-MD5 APOP", opts: []driver.Option{insecure}, want: "CRAM-MD5"},
		{name: "APOP in clear", offered: "USER PLAIN APOP", opts: []driver.Option{insecure}, want: "APOP"},
		{name: "plain before digests in TLS", offered: "CRAM-MD5 DIGEST-MD5 LOGIN PLAIN APOP", tls: true, want: "PLAIN"},
		{name: "digests before plain in TLS to whomever", offered: "CRAM-MD5 LOGIN PLAIN", opts: []driver.Option{driver.WithInsecureSkipVerify()}, tls: true, want: "CRAM-MD5"},
		{name: "LOGIN in TLS", offered: "CRAM-MD5 LOGIN", tls: true, want: "LOGIN"},
		{name: "command in TLS", offered: "CRAM-MD5 CLEARTEXT", tls: true, service: "imap", want: "CLEARTEXT"},
		{name: "any letter case", offered: "plain", tls: true, want: "PLAIN"},
		{name: "PLAIN in clear, permitted", offered: "LOGIN PLAIN", opts: []driver.Option{insecure}, want: "PLAIN"},
		{name: "A06: only plain ones left, in clear", offered: "LOGIN PLAIN", kind: driver.KindPolicy},
		{name: "named in clear", offered: "LOGIN PLAIN CRAM-MD5", opts: []driver.Option{named("PLAIN")}, kind: driver.KindPolicy},
		{name: "named, second", offered: "LOGIN", opts: []driver.Option{named("cram-md5", "login")}, tls: true, want: "LOGIN"},
		{name: "named order", offered: "PLAIN LOGIN CRAM-MD5", opts: []driver.Option{named("APOP", "CramMD5", "PLAIN")}, tls: true, want: "CRAM-MD5"},
		{name: "A06: named and not offered", offered: "PLAIN LOGIN", opts: []driver.Option{named("SCRAM-SHA-256")}, tls: true, kind: driver.KindAuth, says: "offers none of SCRAM-SHA-256"},
		{name: "EXTERNAL is not taken", offered: "EXTERNAL", tls: true, kind: driver.KindAuth},
		{name: "EXTERNAL by name", offered: "EXTERNAL PLAIN", opts: []driver.Option{named("EXTERNAL")}, tls: true, want: "EXTERNAL"},
		{name: "A22: NTLM is not taken", offered: "NTLM", tls: true, kind: driver.KindAuth},
		{name: "NTLM by name", offered: "NTLM", opts: []driver.Option{named("ntlm")}, want: "NTLM"},
		{name: "tokens", offered: all, opts: []driver.Option{tokenSource("t")}, tls: true, want: "OAUTHBEARER"},
		{name: "tokens of Microsoft", offered: "PLAIN XOAUTH2", opts: []driver.Option{tokenSource("t")}, tls: true, want: "XOAUTH2"},
		{name: "tokens and no way to use them", offered: "PLAIN", opts: []driver.Option{tokenSource("t")}, tls: true, kind: driver.KindAuth, says: "OAUTHBEARER, XOAUTH2"},
		{name: "A54: a token in clear", offered: all, opts: []driver.Option{tokenSource("t")}, kind: driver.KindPolicy},
		{name: "A54: permission alone", offered: all, opts: []driver.Option{tokenSource("t"), insecure}, kind: driver.KindPolicy},
		{name: "a token in clear, permitted and named", offered: all, opts: []driver.Option{tokenSource("t"), insecure, named("OAuth20")}, want: "OAUTHBEARER"},
		{name: "no token", offered: all, opts: []driver.Option{named("OAuth20")}, tls: true, kind: driver.KindAuth, says: "OAUTHBEARER needs access tokens (driver.WithTokenSource)"},
		{name: "tickets", offered: all, opts: []driver.Option{driver.WithNegotiator(noTickets{})}, want: "GSSAPI"},
		{name: "no tickets", offered: all, opts: []driver.Option{named("GSSapi")}, kind: driver.KindAuth, says: "driver.WithNegotiator"},
		{name: "binding in clear", offered: all, opts: []driver.Option{named("SCRAM-SHA-1-PLUS")}, kind: driver.KindAuth, says: "TLS"},
		{name: "unknown", offered: all, opts: []driver.Option{named("X-WHAT")}, tls: true, kind: driver.KindAuth, says: "not known here: X-WHAT"},
		{name: "custom", offered: "PLAIN X-OWN", opts: []driver.Option{named("X-OWN"), driver.WithMechanism("x-own", newOwn)}, tls: true, want: "X-OWN"},
		{name: "custom in clear", offered: "PLAIN X-OWN", opts: []driver.Option{named("X-OWN"), driver.WithMechanism("x-own", newOwn)}, kind: driver.KindPolicy},
		{name: "nothing offered", tls: true, kind: driver.KindAuth},
		{name: "nothing offered in clear", service: "smtp", kind: driver.KindAuth, says: "offers none of SCRAM-SHA-256, SCRAM-SHA-1, DIGEST-MD5, CRAM-MD5, PLAIN, LOGIN; it offers no mechanism"},
		{name: "nothing in common", offered: "GSSAPI X-\x1b[31m", tls: true, kind: driver.KindAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Peer{Network: network(t, tt.opts...), Service: cmp.Or(tt.service, "pop")}
			if tt.tls {
				p.TLS = &cs
			}
			got, err := Choose(strings.Fields(tt.offered), p)
			assert.Equal(t, tt.want, got)
			if tt.want != "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, tt.kind, driver.KindOf(err))
			assert.Equal(t, tt.kind == driver.KindPolicy, errors.Is(err, driver.ErrInsecureAuth))
			if tt.kind == driver.KindAuth {
				var me *driver.MechanismError
				require.ErrorAs(t, err, &me)
				assert.Equal(t, strings.Fields(tt.offered), append([]string{}, me.Offered...))
			}
			assert.NotContains(t, err.Error(), "\x1b")
			assert.NotContains(t, err.Error(), secret)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

// TestNoPassword has nothing to log in with but a name.
func TestNoPassword(t *testing.T) {
	for _, name := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256", "NTLM", "USER", "APOP", "CLEARTEXT"} {
		n := network(t, driver.WithLogin("tim", ""), driver.WithMechanisms(name), driver.WithInsecureAuth())
		_, err := Choose([]string{name}, &Peer{Network: n})
		require.ErrorContains(t, err, name+" needs user name and password")
	}
	// With nothing but a way to log in it is the configuration that is at fault,
	// unless that way needs nothing.
	for name, want := range map[string]string{
		"PLAIN": "user name and password (driver.WithLogin)", "NTLM": "driver.WithLogin", "GSSAPI": "driver.WithNegotiator", "XOAUTH2": "driver.WithTokenSource", "EXTERNAL": "",
	} {
		n := driver.NewNetwork()
		require.NoError(t, driver.Apply([]driver.Option{driver.WithMechanisms(name), driver.WithInsecureAuth()}, &n))
		assert.True(t, Wanted(&n))
		got, err := Choose([]string{name}, &Peer{Network: &n})
		if want == "" {
			require.NoError(t, err)
			assert.Equal(t, name, got)
			continue
		}
		require.ErrorContains(t, err, want)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
	n := driver.NewNetwork()
	assert.False(t, Wanted(&n))
	require.NoError(t, driver.Apply([]driver.Option{tokenSource("t")}, &n))
	assert.True(t, Wanted(&n))
	cs, _, _ := handshake(t, 0)
	_, err := Choose([]string{"XOAUTH2"}, &Peer{Network: &n, TLS: &cs})
	require.ErrorContains(t, err, "XOAUTH2 needs a user name")
}

// own is a mechanism of a host.
type own struct{}

func newOwn() driver.Mechanism { return own{} }

func (own) Start() ([]byte, error)        { return []byte("hello"), nil }
func (own) Next(c []byte) ([]byte, error) { return append([]byte("you said "), c...), nil }
