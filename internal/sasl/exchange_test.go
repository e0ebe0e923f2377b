package sasl

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// conversation is a scripted server: what it says, and what it heard.
type conversation struct {
	says   []string // "+text" a challenge, "ok", or a refusal
	heard  []string
	hidden []string
}

func (c *conversation) Start(args string) error { return c.Send("AUTH " + args) }
func (c *conversation) Send(line string) error  { c.heard = append(c.heard, line); return nil }
func (c *conversation) Hide(secret string)      { c.hidden = append(c.hidden, secret) }

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
	plain := b64("\x00tim\x00" + secret)
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
		{name: "PLAIN after words", mech: "PLAIN", says: []string{"+PLAIN supported!", "ok"}, heard: []string{"AUTH PLAIN", plain}},
		{name: "PLAIN refused", mech: "PLAIN", maxArgs: 500, says: []string{"no"}, heard: []string{"AUTH PLAIN " + plain}, want: "refused", kind: driver.KindAuth},
		{name: "PLAIN, odd challenge", mech: "PLAIN", maxArgs: 500, says: []string{"+", "no"}, heard: []string{"AUTH PLAIN " + plain, "*"}, want: "challenge", kind: driver.KindAuth},
		{name: "success after a cancel is none", mech: "PLAIN", maxArgs: 500, says: []string{"+", "ok"}, heard: []string{"AUTH PLAIN " + plain, "*"}, want: "challenge", kind: driver.KindAuth},
		{name: "LOGIN", mech: "LOGIN", says: []string{"+" + b64("User Name\x00"), "+" + b64("what?"), "ok"}, heard: []string{"AUTH LOGIN", b64("tim"), b64(secret)}},
		{name: "LOGIN, empty prompts", mech: "LOGIN", says: []string{"+", "+=", "ok"}, heard: []string{"AUTH LOGIN", b64("tim"), b64(secret)}},
		{name: "LOGIN, third prompt", mech: "LOGIN", says: []string{"+", "+", "+", "no"}, heard: []string{"AUTH LOGIN", b64("tim"), b64(secret), "*"}, want: "third prompt", kind: driver.KindAuth},
		{name: "CRAM-MD5", mech: "CRAM-MD5", says: []string{"+" + challenge, "ok"}, heard: []string{"AUTH CRAM-MD5", answer}},
		{name: "CRAM-MD5, empty challenge", mech: "CRAM-MD5", says: []string{"+", "no"}, heard: []string{"AUTH CRAM-MD5", "*"}, want: "empty", kind: driver.KindAuth},
		{name: "CRAM-MD5, second challenge", mech: "CRAM-MD5", says: []string{"+" + challenge, "+" + challenge, "no"}, heard: []string{"AUTH CRAM-MD5", answer, "*"}, want: "second", kind: driver.KindAuth},
		{name: "not base64", mech: "CRAM-MD5", says: []string{"+!!!", "no"}, heard: []string{"AUTH CRAM-MD5", "*"}, want: "not base64", kind: driver.KindProtocol},
		{name: "EXTERNAL", mech: "EXTERNAL", maxArgs: 500, says: []string{"ok"}, heard: []string{"AUTH EXTERNAL " + b64("tim")}},
		{name: "EXTERNAL without initial response", mech: "EXTERNAL", says: []string{"+", "ok"}, heard: []string{"AUTH EXTERNAL", b64("tim")}},
		{name: "A21: NTLM garbage", mech: "NTLM", maxArgs: 0, says: []string{"+", "+" + b64("NTLMSSP"), "no"}, heard: []string{"AUTH NTLM", b64(ntlmFirst), "*"}, want: "bad challenge", kind: driver.KindProtocol},
		{name: "NTLMv1", mech: "NTLM", maxArgs: 500, says: []string{"+" + b64(ntlmV1), "no"}, heard: []string{"AUTH NTLM " + b64(ntlmFirst), "*"}, want: "never used", kind: driver.KindPolicy},
		{name: "custom", mech: "X-OWN", maxArgs: 500, says: []string{"+" + b64("x"), "ok"}, heard: []string{"AUTH X-OWN " + b64("hello"), b64("you said x")}},
		{name: "A06: DIGEST-MD5, success at once", mech: "DIGEST-MD5", says: []string{"ok"}, heard: []string{"AUTH DIGEST-MD5"}, want: "success without proof", kind: driver.KindPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := network(t, driver.WithMechanisms(tt.mech), driver.WithMechanism("X-OWN", newOwn))
			conv := &conversation{says: tt.says}
			err := Login(context.Background(), tt.mech, []string{tt.mech}, &Peer{Network: n, Service: "imap", Host: "mail.example.com"}, conv, tt.maxArgs)
			assert.Equal(t, tt.heard, conv.heard)
			assert.Empty(t, conv.says)
			for _, line := range append(conv.heard, secret) {
				if _, ir, ok := strings.Cut(line, " "); ok {
					_, line, _ = strings.Cut(ir, " ")
				}
				if len(line) >= 8 {
					assert.Contains(t, conv.hidden, line)
				}
			}
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

// The first message of NTLM, and a challenge with the flags of NTLMv1.
var (
	ntlmFirst = "NTLMSSP\x00\x01\x00\x00\x00\x15\x82\x88\xe2" + strings.Repeat("\x00", 23) + "\x0f"
	ntlmV1    = "NTLMSSP\x00\x02\x00\x00\x00" + strings.Repeat("\x00", 8) + "\x01\x82\x00\x00" + "nonce..." + strings.Repeat("\x00", 16)
)

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
	f.Add([]byte(b64(goodDigest)), uint8(4))
	f.Add([]byte(b64(ntlmV1)), uint8(5))
	f.Add([]byte(b64(`{"status":"400"}`)), uint8(6))
	f.Add([]byte(b64(`{"status":"400"}`)), uint8(7))
	f.Add([]byte(b64("r=x,s=QQ==,i=4096")), uint8(8))
	mechs := []string{"CRAM-MD5", "LOGIN", "PLAIN", "EXTERNAL", "DIGEST-MD5", "NTLM", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-1"}
	f.Fuzz(func(t *testing.T, challenge []byte, which uint8) {
		n := network(t, tokenSource(secret))
		conv := &conversation{says: []string{"+" + string(challenge), "+" + string(challenge), "no"}}
		err := Login(context.Background(), mechs[int(which)%len(mechs)], mechs, &Peer{Network: n, Service: "imap", Host: "h"}, conv, 0)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), secret)
		assert.Less(t, len(err.Error()), 5000)
	})
}
