package sasl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// TestLogin has every mechanism with strict servers: right and wrong
// credentials, with and without room for an initial response, in clear and in
// TLS of both versions.
func TestLogin(t *testing.T) {
	type channel struct {
		name           string
		client, server *tls.ConnectionState
		leaf           []byte
	}
	channels := []channel{{name: "clear"}}
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		c, s, leaf := handshake(t, version)
		channels = append(channels, channel{name, &c, &s, leaf})
	}
	const pass, token = `p,="\ 1`, "to.ken~+/=="
	for _, mech := range sasltest.Mechanisms {
		for _, ch := range channels {
			if mech == "EXTERNAL" || ch.client == nil && strings.HasSuffix(mech, "-PLUS") {
				continue
			}
			for _, wrong := range []bool{false, true} {
				for _, maxArgs := range []int{0, 8000} {
					t.Run(fmt.Sprint(mech, "/", ch.name, "/wrong=", wrong, "/", maxArgs), func(t *testing.T) {
						user := `tim,=" \`
						if mech == "NTLM" {
							user = `tim,="` // what is before \ would be the domain
						}
						login := driver.WithLogin(user, pass)
						source := tokenSource(token)
						if wrong {
							login, source = driver.WithLogin(user, pass+"x"), tokenSource(token+"x")
						}
						conv := &live{new: func(mech string) sasltest.Server {
							return sasltest.New(mech, sasltest.Setting{
								Accounts: []sasltest.Account{{User: user, Password: pass, Token: token}},
								Offered:  []string{mech}, Host: "mail.example.com", Service: "smtp", TLS: ch.server, Leaf: ch.leaf,
							})
						}}
						p := &Peer{Network: network(t, login, source), Service: "smtp", Host: "mail.example.com", Port: 25, TLS: ch.client}
						err := Login(context.Background(), mech, []string{mech}, p, conv, maxArgs)
						if !wrong {
							require.NoError(t, err)
							assert.Equal(t, user, conv.user)
							return
						}
						require.Error(t, err)
						assert.Empty(t, conv.user)
						require.ErrorIs(t, conv.refusal, sasltest.ErrRefused, "refused for the credentials and nothing else")
						assert.Equal(t, driver.KindAuth, driver.KindOf(err))
						assert.NotContains(t, err.Error(), pass)
						assert.NotContains(t, err.Error(), token)
					})
				}
			}
		}
	}
}

// TestA06Downgrade has a man in the middle take -PLUS out of the list: the flag y
// tells the server.
func TestA06Downgrade(t *testing.T) {
	c, s, leaf := handshake(t, tls.VersionTLS13)
	run := func(told, offered []string, n *driver.Network, ch *tls.ConnectionState) (*live, error) {
		conv := &live{new: func(mech string) sasltest.Server {
			return sasltest.New(mech, sasltest.Setting{
				Accounts: []sasltest.Account{{User: "tim", Password: secret}}, Offered: offered, TLS: &s, Leaf: leaf,
			})
		}}
		p := &Peer{Network: n, Service: "imap", Host: "h", TLS: ch}
		mech, err := Choose(told, p)
		require.NoError(t, err)
		return conv, Login(context.Background(), mech, told, p, conv, 8000)
	}
	both, bare := []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}, []string{"SCRAM-SHA-256"}

	conv, err := run(both, both, network(t), &c)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(conv.heard[0], b64("p=tls-exporter,,n=tim")[:20]))

	conv, err = run(bare, both, network(t), &c)
	require.Error(t, err)
	require.ErrorContains(t, conv.refusal, "took -PLUS out")

	conv, err = run(bare, bare, network(t), &c)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(conv.heard[0], b64("y,,n=tim,r")[:12]))

	conv, err = run(both, both, network(t, driver.WithMechanisms("SCRAM-SHA-256")), &c)
	require.NoError(t, err, "the host wanted no binding: that is no downgrade")
	assert.True(t, strings.HasPrefix(conv.heard[0], b64("n,,n=tim,r")[:12]))

	// A server that knows the older binding alone says so, and is believed.
	conv = &live{new: func(mech string) sasltest.Server {
		return sasltest.New(mech, sasltest.Setting{
			Accounts: []sasltest.Account{{User: "tim", Password: secret}}, Offered: both, TLS: &s, Leaf: leaf, OldBinding: true,
		})
	}}
	require.NoError(t, Login(context.Background(), "SCRAM-SHA-256-PLUS", both, &Peer{Network: network(t), TLS: &c}, conv, 8000))
	assert.Equal(t, 2, conv.started)
	assert.Equal(t, "tim", conv.user)

	// Someone else's channel: the certificate is another one.
	other, _, _ := handshake(t, tls.VersionTLS12)
	conv, err = run(both, both, network(t), &other)
	require.Error(t, err)
	require.ErrorIs(t, conv.refusal, sasltest.ErrMalformed)
	assert.Empty(t, conv.user)
}

// TestA22Relay has an NTLM server that demands Extended Protection, and someone
// between.
func TestA22Relay(t *testing.T) {
	c, s, leaf := handshake(t, tls.VersionTLS13)
	other, _, _ := handshake(t, tls.VersionTLS13)
	run := func(ch *tls.ConnectionState, host string, opts ...driver.Option) error {
		conv := &live{new: func(mech string) sasltest.Server {
			return sasltest.New(mech, sasltest.Setting{
				Accounts: []sasltest.Account{{User: "tim", Password: secret}}, Host: "mail.example.com", Service: "imap", TLS: &s, Leaf: leaf,
			})
		}}
		err := Login(context.Background(), "NTLM", nil, &Peer{Network: network(t, opts...), Service: "imap", Host: host, TLS: ch}, conv, 8000)
		if err != nil {
			require.ErrorIs(t, conv.refusal, sasltest.ErrMalformed)
			return conv.refusal
		}
		return nil
	}
	require.NoError(t, run(&c, "mail.example.com"))
	require.ErrorContains(t, run(&other, "mail.example.com"), "channel binding")
	require.ErrorContains(t, run(nil, "mail.example.com"), "channel binding")
	require.ErrorContains(t, run(&c, "relay.example.net"), "service name")
	require.NoError(t, run(&c, "10.0.0.1", driver.WithSPN("imap/mail.example.com")))
}

// TestTokenRefused tries once more with another token, and never twice with the
// same (A54).
func TestTokenRefused(t *testing.T) {
	tests := []struct {
		name   string
		tokens []string // what the source gives, one after the other
		tries  int
		asked  int
		ok     bool
	}{
		{"good", []string{"good"}, 1, 1, true},
		{"taken back", []string{"bad", "good"}, 2, 2, true},
		{"always bad", []string{"bad", "worse", "good"}, 2, 2, false},
		{"the same again", []string{"bad", "bad"}, 1, 2, false},
		{"no other", []string{"bad"}, 1, 2, false},
	}
	for _, mech := range []string{"OAUTHBEARER", "XOAUTH2"} {
		for _, tt := range tests {
			t.Run(mech+"/"+tt.name, func(t *testing.T) {
				asked := 0
				n := network(t, driver.WithTokenSource(func(context.Context) (driver.Token, error) {
					asked++
					if asked > len(tt.tokens) {
						return driver.Token{}, errors.New("the well is dry")
					}
					return driver.Token{Value: driver.NewSecret(tt.tokens[asked-1])}, nil
				}))
				conv := &live{new: func(mech string) sasltest.Server {
					return sasltest.New(mech, sasltest.Setting{Accounts: []sasltest.Account{{User: "tim", Token: "good"}}})
				}}
				err := Login(context.Background(), mech, nil, &Peer{Network: n, Host: "h"}, conv, 8000)
				assert.Equal(t, tt.tries, conv.started)
				assert.Equal(t, tt.asked, asked)
				if tt.ok {
					require.NoError(t, err)
					return
				}
				var te *driver.TokenError
				require.ErrorAs(t, err, &te)
				assert.Equal(t, "invalid_token", te.Status)
				assert.Equal(t, "mail", te.Scope)
				assert.Equal(t, driver.KindAuth, driver.KindOf(err))
				require.ErrorIs(t, err, errRefused)
			})
		}
	}
}

// TestNoToken sends nothing without a token.
func TestNoToken(t *testing.T) {
	for name, source := range map[string]driver.TokenSource{
		"dry":   func(context.Context) (driver.Token, error) { return driver.Token{}, errors.New("the well is dry") },
		"empty": func(context.Context) (driver.Token, error) { return driver.Token{}, nil },
		"expired": func(context.Context) (driver.Token, error) {
			return driver.Token{Value: driver.NewSecret("x"), Expiry: time.Unix(1, 0)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			conv := &live{}
			err := Login(context.Background(), "XOAUTH2", nil, &Peer{Network: network(t, driver.WithTokenSource(source))}, conv, 8000)
			require.ErrorIs(t, err, driver.ErrNoToken)
			assert.Equal(t, driver.KindAuth, driver.KindOf(err))
			assert.Zero(t, conv.started)
		})
	}
	mute := driver.WithTokenSource(func(ctx context.Context) (driver.Token, error) {
		<-ctx.Done()
		return driver.Token{}, ctx.Err()
	})
	err := Login(context.Background(), "XOAUTH2", nil, &Peer{Network: network(t, mute, driver.WithTimeout(10*time.Millisecond))}, &live{}, 8000)
	require.ErrorIs(t, err, driver.ErrNoToken)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

// ticket is a security context in the clear: tokens are words, wrapped messages
// have a prefix.
type ticket struct {
	steps  []string // what the server must say before each step but the first
	at     int
	last   string // what the last step gives
	closed bool
}

func (k *ticket) Start(_ context.Context, service, host string, binding []byte) (driver.SecurityContext, error) {
	if service != "imap" || host != "mail.example.com" || binding != nil {
		return nil, fmt.Errorf("no ticket for %s at %s", service, host)
	}
	return k, nil
}

func (k *ticket) Step(in []byte) ([]byte, bool, error) {
	if k.at > 0 && string(in) != k.steps[k.at-1] {
		return nil, false, errors.New("the server's token is forged")
	}
	k.at++
	if k.at > len(k.steps) {
		return []byte(k.last), true, nil
	}
	return fmt.Appendf(nil, "token %d", k.at), false, nil
}

func (k *ticket) Wrap(m []byte) ([]byte, error) { return append([]byte("wrapped:"), m...), nil }

func (k *ticket) Unwrap(m []byte) ([]byte, error) {
	text, ok := strings.CutPrefix(string(m), "wrapped:")
	if !ok {
		return nil, errors.New("the integrity check fails")
	}
	return []byte(text), nil
}

func (k *ticket) Close() error { k.closed = true; return nil }

// TestGSSAPI has the negotiation of RFC 4752 section 3.1.
func TestGSSAPI(t *testing.T) {
	tests := []struct {
		name        string
		k           ticket
		says, heard []string
		want        string
		kind        driver.Kind
	}{
		{
			name: "two steps", k: ticket{steps: []string{"reply"}},
			says:  []string{"+" + b64("reply"), "+" + b64("wrapped:\x07\x00\xff\xff"), "ok"},
			heard: []string{"AUTH GSSAPI " + b64("token 1"), "", b64("wrapped:\x01\x00\x00\x00tim")},
		},
		{
			name: "three steps", k: ticket{steps: []string{"reply"}, last: "bye"},
			says:  []string{"+" + b64("reply"), "+" + b64("wrapped:\x01\x00\x00\x00"), "ok"},
			heard: []string{"AUTH GSSAPI " + b64("token 1"), b64("bye"), b64("wrapped:\x01\x00\x00\x00tim")},
		},
		{name: "success before the server's proof", k: ticket{steps: []string{"reply"}}, says: []string{"ok"}, want: "success without proof", kind: driver.KindPolicy},
		{name: "success before the layers", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("reply"), "ok"}, want: "success without proof", kind: driver.KindPolicy},
		{name: "forged token", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("other"), "no"}, want: "forged", kind: driver.KindAuth},
		{name: "forged layers", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("reply"), "+" + b64("\x01\x00\x00\x00"), "no"}, want: "integrity", kind: driver.KindAuth},
		{name: "layer demanded", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("reply"), "+" + b64("wrapped:\x06\x00\x10\x00"), "no"}, want: "demands a security layer", kind: driver.KindAuth},
		{name: "short offer", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("reply"), "+" + b64("wrapped:\x01"), "no"}, want: "1 bytes, not 4", kind: driver.KindAuth},
		{name: "no end", k: ticket{steps: []string{"reply"}}, says: []string{"+" + b64("reply"), "+" + b64("wrapped:\x01\x00\x00\x00"), "+", "no"}, want: "after the security layer", kind: driver.KindAuth},
		{name: "refused", k: ticket{steps: []string{"reply"}}, says: []string{"no"}, want: "refused", kind: driver.KindAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conv := &conversation{says: tt.says}
			n := network(t, driver.WithNegotiator(&tt.k))
			err := Login(context.Background(), "GSSAPI", nil, &Peer{Network: n, Service: "imap", Host: "mail.example.com"}, conv, 8000)
			assert.True(t, tt.k.closed)
			assert.Empty(t, conv.says)
			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				assert.Equal(t, tt.kind, driver.KindOf(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.heard, conv.heard)
		})
	}
	conv := &conversation{}
	err := Login(context.Background(), "GSSAPI", nil, &Peer{Network: network(t, driver.WithNegotiator(&ticket{})), Service: "imap", Host: "other"}, conv, 8000)
	require.ErrorContains(t, err, "no ticket for imap at other")
	assert.Empty(t, conv.heard, "nothing is said without a ticket")
	err = Login(context.Background(), "GSSAPI", nil, &Peer{Network: network(t, driver.WithNegotiator(&ticket{}), driver.WithSPN("imap/mail.example.com")), Service: "x", Host: "other"},
		&conversation{says: []string{"no"}}, 8000)
	require.ErrorIs(t, err, errRefused, "the SPN names another service")
}
