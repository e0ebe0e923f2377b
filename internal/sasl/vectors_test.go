package sasl

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// TestVectors plays the examples of the RFCs. A turn is what the server says and
// what the client answers; the first has only the answer.
func TestVectors(t *testing.T) {
	tests := []struct {
		name  string
		c     Client
		first string // "-" for none
		turns [][2]string
	}{
		{
			"RFC 2195, section 2", &cramMD5{user: "tim", password: driver.NewSecret(secret)}, "-",
			[][2]string{{"<1896.697170952@postoffice.reston.mci.net>", "tim b913a602c7eda7a495b4e6e7334d3890"}},
		},
		{
			"RFC 5802, section 5",
			&scram{name: "SCRAM-SHA-1", hash: sha1.New, user: "user", password: driver.NewSecret("pencil"), gs2: "n,,", nonce: "fyko+d2lbbFgONRv9qkxdawL"},
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			[][2]string{
				{"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096", "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="},
				{"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", ""},
			},
		},
		{
			"RFC 7677, section 3",
			&scram{name: "SCRAM-SHA-256", hash: sha256.New, user: "user", password: driver.NewSecret("pencil"), gs2: "n,,", nonce: "rOprNGfwEbeRWgbNEkqO"},
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			[][2]string{
				{"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="},
				{"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ""},
			},
		},
		{
			"RFC 2831, section 4, IMAP",
			&digestMD5{user: "chris", password: driver.NewSecret("secret"), service: "imap", host: "elwood.innosoft.com", cnonce: "OA6MHXh6VqTrRk"}, "-",
			[][2]string{
				{
					`realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8`,
					`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`,
				},
				{"rspauth=ea40f60335c427b5527b84dbabcdfffd", ""},
			},
		},
		{
			"RFC 2831, section 4, ACAP",
			&digestMD5{user: "chris", password: driver.NewSecret("secret"), service: "acap", host: "elwood.innosoft.com", cnonce: "OA9BSuZWMSpW8m"}, "-",
			[][2]string{
				{
					`realm="elwood.innosoft.com",nonce="OA9BSXrbuRhWay",qop="auth",algorithm=md5-sess,charset=utf-8`,
					`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA9BSXrbuRhWay",nc=00000001,cnonce="OA9BSuZWMSpW8m",digest-uri="acap/elwood.innosoft.com",response=6084c6db3fede7352c551284490fd0fc,qop=auth`,
				},
				{"rspauth=2f0b3d7c3c2e486600ef710726aa2eae", ""},
			},
		},
		{
			"RFC 7628, section 4.1",
			&bearer{name: "OAUTHBEARER", user: "user@example.com", host: "server.example.com", port: 143, token: "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="},
			unb64(t, "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"),
			[][2]string{{unb64(t, "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIn0="), "\x01"}},
		},
		{
			"Google's XOAUTH2",
			&bearer{name: "XOAUTH2", user: "someuser@example.com", token: "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"},
			unb64(t, "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="),
			[][2]string{{`{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}`, ""}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, ir, err := tt.c.Start()
			require.NoError(t, err)
			if tt.first == "-" {
				assert.Nil(t, ir)
			} else {
				assert.Equal(t, tt.first, string(ir))
			}
			done, completes := tt.c.(completer)
			for _, turn := range tt.turns {
				if completes {
					require.ErrorIs(t, done.Complete(), driver.ErrServerProof)
				}
				answer, err := tt.c.Next([]byte(turn[0]))
				require.NoError(t, err)
				assert.Equal(t, turn[1], string(answer))
			}
			if completes {
				require.NoError(t, done.Complete())
			}
			if b, ok := tt.c.(*bearer); ok {
				assert.NotEmpty(t, b.status)
				assert.NotEmpty(t, b.scope)
			}
			_, err = tt.c.Next([]byte("more"))
			require.Error(t, err, "nothing is answered after the end")
		})
	}
}

func unb64(t *testing.T, s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	require.NoError(t, err)
	return string(b)
}

// RFC 4013, section 3, and more.
func TestSASLPrep(t *testing.T) {
	for in, want := range map[string]string{
		"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX",
		"a\u00a0b\u3000c": "a b c", `sp "q" \b ü€ %s`: `sp "q" \b ü€ %s`, "u\u0308": "ü", "\u0627\u0628": "\u0627\u0628",
		"\u0627\u0031\u0628": "\u0627\u0031\u0628",
	} {
		got, err := saslPrep(in)
		require.NoError(t, err, "%q", in)
		assert.Equal(t, want, got, "%q", in)
	}
	for _, in := range []string{
		"\u0007", "\u0627\u0031", "a\u0627", "x\u202e", "\ue000", "\ufdd0", "\ufffd", "bad\xff", "\u0085", "\U000e0041", "\U0001fffe", "\u2028",
	} {
		_, err := saslPrep(in)
		require.ErrorIs(t, err, errProhibited, "%q", in)
		assert.NotContains(t, err.Error(), in)
	}
}

// TestDigestCharsets hashes names and passwords of ISO 8859-1 in that, and
// others in UTF-8 (RFC 2831 section 2.1.2.1).
func TestDigestCharsets(t *testing.T) {
	answer := func(user, pass, challenge string) (string, error) {
		d := &digestMD5{user: user, password: driver.NewSecret(pass), service: "imap", host: "h", cnonce: "c"}
		b, err := d.Next([]byte(challenge))
		return string(b), err
	}
	const plain = `nonce="n",algorithm=md5-sess`
	got, err := answer("jürgen", "pä", plain+`,charset=UTF-8`)
	require.NoError(t, err)
	a1 := md5hex(string(md5raw("j\xfcrgen::p\xe4")) + ":n:c")
	assert.Contains(t, got, "response="+md5hex(a1+":n:00000001:c:auth:"+md5hex("AUTHENTICATE:imap/h")))
	assert.Contains(t, got, `username="jürgen"`)
	assert.NotContains(t, got, "realm", "none was offered")

	got, err = answer("jürgen", "pä", plain)
	require.NoError(t, err)
	assert.Contains(t, got, "username=\"j\xfcrgen\"")
	assert.NotContains(t, got, "charset")

	got, err = answer(`a"\b`, "€", plain+`,charset=utf-8`)
	require.NoError(t, err)
	a1 = md5hex(string(md5raw(`a"\b::€`)) + ":n:c")
	assert.Contains(t, got, "response="+md5hex(a1+":n:00000001:c:auth:"+md5hex("AUTHENTICATE:imap/h")))
	assert.Contains(t, got, `username="a\"\\b"`)

	_, err = answer("a", "€", plain)
	require.ErrorContains(t, err, "UTF-8")
}

// TestDigestRealms has the realm that the host wants, or the server's own name,
// or the first.
func TestDigestRealms(t *testing.T) {
	for _, tt := range [][3]string{
		{"", `realm="a"`, "a"},
		{"", `realm="a",realm="H.Example"`, "H.Example"},
		{"b", `realm="a",realm="b"`, "b"},
		{"c", ``, "c"},
	} {
		d := &digestMD5{user: "u", password: driver.NewSecret("p"), service: "imap", host: "h.example", realm: tt[0]}
		b, err := d.Next([]byte(strings.Trim(tt[1]+`,nonce="n",algorithm=md5-sess`, ",")))
		require.NoError(t, err)
		assert.Contains(t, string(b), `,realm="`+tt[2]+`",`)
	}
}
