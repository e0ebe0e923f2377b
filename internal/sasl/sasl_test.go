package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func network(t *testing.T, opts ...driver.Option) *driver.Network {
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply(append([]driver.Option{driver.WithLogin("tim", "tanstaaftanstaaf")}, opts...), &n))
	return &n
}

func TestChoose(t *testing.T) {
	insecure := driver.WithInsecureAuth()
	tests := []struct {
		name    string
		offered string
		opts    []driver.Option
		tls     bool
		want    string
		kind    driver.Kind
	}{
		{name: "strongest in TLS", offered: "CRAM-MD5 LOGIN PLAIN", tls: true, want: "PLAIN"},
		{name: "LOGIN in TLS", offered: "CRAM-MD5 LOGIN", tls: true, want: "LOGIN"},
		{name: "any letter case", offered: "plain", tls: true, want: "PLAIN"},
		{name: "strongest in clear", offered: "PLAIN LOGIN CRAM-MD5", want: "CRAM-MD5"},
		{name: "strongest in clear, permitted", offered: "PLAIN LOGIN CRAM-MD5", opts: []driver.Option{insecure}, want: "CRAM-MD5"},
		{name: "PLAIN in clear, permitted", offered: "LOGIN PLAIN", opts: []driver.Option{insecure}, want: "PLAIN"},
		{name: "PLAIN in clear", offered: "LOGIN PLAIN", kind: driver.KindPolicy},
		{name: "named in clear", offered: "LOGIN PLAIN CRAM-MD5", opts: []driver.Option{driver.WithMechanisms("PLAIN")}, kind: driver.KindPolicy},
		{name: "named, second", offered: "LOGIN", opts: []driver.Option{driver.WithMechanisms("cram-md5", "login")}, tls: true, want: "LOGIN"},
		{name: "named order", offered: "PLAIN LOGIN CRAM-MD5", opts: []driver.Option{driver.WithMechanisms("APOP", "CRAM-MD5", "PLAIN")}, tls: true, want: "CRAM-MD5"},
		{name: "EXTERNAL is not taken", offered: "EXTERNAL", tls: true, kind: driver.KindAuth},
		{name: "EXTERNAL by name", offered: "EXTERNAL PLAIN", opts: []driver.Option{driver.WithMechanisms("EXTERNAL")}, tls: true, want: "EXTERNAL"},
		{name: "nothing offered", tls: true, kind: driver.KindAuth},
		{name: "nothing in common", offered: "GSSAPI X-\x1b[31m", tls: true, kind: driver.KindAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Choose(strings.Fields(tt.offered), network(t, tt.opts...), tt.tls)
			if tt.want == "" {
				require.Error(t, err)
				assert.Equal(t, tt.kind, driver.KindOf(err))
				assert.Equal(t, tt.kind == driver.KindPolicy, errors.Is(err, driver.ErrInsecureAuth))
				if tt.kind == driver.KindAuth {
					var ne *NoMechanismError
					require.ErrorAs(t, err, &ne)
				}
				assert.NotContains(t, err.Error(), "\x1b")
				return
			}
			require.NoError(t, err)
			mech, _, err := c.Start()
			require.NoError(t, err)
			assert.Equal(t, tt.want, mech)
			assert.True(t, Known(mech))
		})
	}
}

// conversation is a scripted server: what it says, and what it heard.
type conversation struct {
	says  []string // "+text" a challenge, "ok", or a refusal
	heard []string
}

var errRefused = errors.New("refused")

func (c *conversation) Start(args string) error { return c.Send("AUTH " + args) }
func (c *conversation) Send(line string) error  { c.heard = append(c.heard, line); return nil }

func (c *conversation) Receive() ([]byte, bool, error) {
	if len(c.says) == 0 {
		return nil, false, errors.New("asked too often")
	}
	s := c.says[0]
	c.says = c.says[1:]
	switch {
	case s == "ok":
		return nil, false, nil
	case s[0] == '+':
		return []byte(s[1:]), true, nil
	}
	return nil, false, errRefused
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestExchange(t *testing.T) {
	plain := b64("\x00tim\x00tanstaaftanstaaf")
	// RFC 2195, section 2.
	challenge, answer := b64("<1896.697170952@postoffice.reston.mci.net>"), b64("tim b913a602c7eda7a495b4e6e7334d3890")
	tests := []struct {
		name, mech  string
		maxArgs     int
		says, heard []string
		want        string // of the error, "" for success
		kind        driver.Kind
	}{
		{name: "PLAIN", mech: "PLAIN", maxArgs: 500, says: []string{"ok"}, heard: []string{"AUTH PLAIN " + plain}},
		{name: "PLAIN without room", mech: "PLAIN", maxArgs: 20, says: []string{"+", "ok"}, heard: []string{"AUTH PLAIN", plain}},
		{name: "PLAIN, just room", mech: "PLAIN", maxArgs: 6 + len(plain), says: []string{"ok"}, heard: []string{"AUTH PLAIN " + plain}},
		{name: "PLAIN refused", mech: "PLAIN", maxArgs: 500, says: []string{"no"}, heard: []string{"AUTH PLAIN " + plain}, want: "refused"},
		{name: "PLAIN, odd challenge", mech: "PLAIN", maxArgs: 500, says: []string{"+", "no"}, heard: []string{"AUTH PLAIN " + plain, "*"}, want: "challenge", kind: driver.KindAuth},
		{name: "success after a cancel is none", mech: "PLAIN", maxArgs: 500, says: []string{"+", "ok"}, heard: []string{"AUTH PLAIN " + plain, "*"}, want: "challenge", kind: driver.KindAuth},
		{name: "LOGIN", mech: "LOGIN", says: []string{"+" + b64("User Name\x00"), "+" + b64("what?"), "ok"}, heard: []string{"AUTH LOGIN", b64("tim"), b64("tanstaaftanstaaf")}},
		{name: "LOGIN, empty prompts", mech: "LOGIN", says: []string{"+", "+=", "ok"}, heard: []string{"AUTH LOGIN", b64("tim"), b64("tanstaaftanstaaf")}},
		{name: "LOGIN, third prompt", mech: "LOGIN", says: []string{"+", "+", "+", "no"}, heard: []string{"AUTH LOGIN", b64("tim"), b64("tanstaaftanstaaf"), "*"}, want: "third prompt", kind: driver.KindAuth},
		{name: "CRAM-MD5", mech: "CRAM-MD5", says: []string{"+" + challenge, "ok"}, heard: []string{"AUTH CRAM-MD5", answer}},
		{name: "CRAM-MD5, empty challenge", mech: "CRAM-MD5", says: []string{"+", "no"}, heard: []string{"AUTH CRAM-MD5", "*"}, want: "empty", kind: driver.KindAuth},
		{name: "CRAM-MD5, second challenge", mech: "CRAM-MD5", says: []string{"+" + challenge, "+" + challenge, "no"}, heard: []string{"AUTH CRAM-MD5", answer, "*"}, want: "second", kind: driver.KindAuth},
		{name: "not base64", mech: "CRAM-MD5", says: []string{"+!!!", "no"}, heard: []string{"AUTH CRAM-MD5", "*"}, want: "not base64", kind: driver.KindProtocol},
		{name: "EXTERNAL", mech: "EXTERNAL", maxArgs: 500, says: []string{"ok"}, heard: []string{"AUTH EXTERNAL ="}},
		{name: "EXTERNAL without initial response", mech: "EXTERNAL", says: []string{"+", "ok"}, heard: []string{"AUTH EXTERNAL", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Choose([]string{tt.mech}, network(t, driver.WithMechanisms(tt.mech)), true)
			require.NoError(t, err)
			conv := &conversation{says: tt.says}
			err = Exchange(c, conv, tt.maxArgs)
			assert.Equal(t, tt.heard, conv.heard)
			assert.Empty(t, conv.says)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.kind, driver.KindOf(err))
			assert.NotContains(t, err.Error(), "tanstaaf")
		})
	}
}

// endless answers every challenge, with nothing.
type endless struct{}

func (endless) Start() (string, []byte, error) { return "ENDLESS", nil, nil }
func (endless) Next([]byte) ([]byte, error)    { return nil, nil }

func TestEndlessExchange(t *testing.T) {
	conv := &conversation{says: append(strings.Split(strings.Repeat("+ ", 100), " ")[:maxChallenges+1], "no")}
	err := Exchange(endless{}, conv, 0)
	require.ErrorIs(t, err, driver.ErrLimit)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	assert.Equal(t, "*", conv.heard[len(conv.heard)-1])
	assert.Empty(t, conv.heard[1], "an empty answer is an empty line")
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+"), uint8(0))
	f.Add([]byte("="), uint8(1))
	f.Add([]byte("!!"), uint8(2))
	f.Add([]byte(""), uint8(3))
	mechs := []string{"CRAM-MD5", "LOGIN", "PLAIN", "EXTERNAL"}
	f.Fuzz(func(t *testing.T, challenge []byte, which uint8) {
		n := driver.NewNetwork()
		n.User, n.Password = "u", driver.NewSecret("very-secret")
		n.Mechanisms = []string{mechs[int(which)%len(mechs)]}
		c, err := Choose(mechs, &n, true)
		require.NoError(t, err)
		conv := &conversation{says: []string{"+" + string(challenge), "+" + string(challenge), "no"}}
		err = Exchange(c, conv, 0)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "very-secret")
	})
}
