package sasl

import (
	"crypto/md5"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func md5raw(s string) []byte { b := md5.Sum([]byte(s)); return b[:] }

func newScram() *scram {
	return &scram{name: "SCRAM-SHA-256", hash: sha256.New, user: "tim", password: driver.NewSecret(secret), gs2: "n,,", nonce: "abcdefgh"}
}

func newDigest() *digestMD5 {
	return &digestMD5{user: "tim", password: driver.NewSecret(secret), service: "imap", host: "h", cnonce: "c"}
}

const goodDigest = `realm="r",nonce="n",qop="auth",algorithm=md5-sess,charset=utf-8`

// scramChallenges and digestChallenges are first messages of servers that mean
// no good, and a part of what is said about them.
var (
	scramChallenges = map[string]string{
		"":                                          "lacks nonce",
		"r=abcdefgh1":                               "lacks nonce",
		"r=abcdefgh,s=QQ==,i=4096":                  "continue ours",
		"r=xbcdefgh1,s=QQ==,i=4096":                 "continue ours",
		"r=abcdefgh\x00,s=QQ==,i=4096":              "printable",
		"r=abcdefgh\u00e4,s=QQ==,i=4096":            "printable",
		"r=abcdefgh1,s=,i=4096":                     "salt",
		"r=abcdefgh1,s=!,i=4096":                    "salt",
		"r=abcdefgh1,s=QQ==,i=4095":                 "permitted are 4096",
		"r=abcdefgh1,s=QQ==,i=1":                    "permitted are 4096",
		"r=abcdefgh1,s=QQ==,i=10000000":             "permitted are 4096 to 1000000",
		"r=abcdefgh1,s=QQ==,i=-5000":                "permitted",
		"r=abcdefgh1,s=QQ==,i=+5000":                "permitted",
		"r=abcdefgh1,s=QQ==,i=":                     "permitted",
		"r=abcdefgh1,s=QQ==,i=99999999999999999999": "permitted",
		"m=ext,r=abcdefgh1,s=QQ==,i=4096":           "extension",
		"s=QQ==,r=abcdefgh1,i=4096":                 "lacks nonce",
		"e=other-error":                             "the server refuses",
		"r=abcdefgh" + strings.Repeat("x", maxNonce) + ",s=QQ==,i=4096": "limit",
	}
	digestChallenges = map[string]string{
		"":                                       "0 times nonce",
		`nonce="n"`:                              "0 times algorithm",
		`nonce="n",nonce="m",algorithm=md5-sess`: "2 times nonce",
		`nonce="",algorithm=md5-sess`:            "empty",
		`nonce="n",algorithm=md5`:                "md5-sess",
		`nonce="n",algorithm=md5-sess,algorithm=md5-sess`:          "2 times algorithm",
		`nonce="n",algorithm=md5-sess,qop="auth-conf"`:             "security layer",
		`nonce="n",algorithm=md5-sess,qop=""`:                      "security layer",
		`nonce="n",algorithm=md5-sess,charset=latin1`:              "utf-8",
		`nonce="n",algorithm=md5-sess,charset=utf-8,charset=utf-8`: "utf-8",
		`nonce="n`:                            "without end",
		`nonce="n\`:                           "without end",
		`nonce="n"x,algorithm=md5-sess`:       "list",
		`=x`:                                  "list",
		`nonce`:                               "list",
		`no nce=x`:                            "list",
		"nonce=\"a\r\nb\",algorithm=md5-sess": "control",
		strings.Repeat(`realm="x",`, maxRealms+1) + goodDigest: "limit",
		strings.Repeat("x", maxDigest+1):                       "limit",
	}
)

func TestHostileScram(t *testing.T) {
	for challenge, want := range scramChallenges {
		c := newScram()
		_, _, err := c.Start()
		require.NoError(t, err)
		answer, err := c.Next([]byte(challenge))
		require.ErrorContains(t, err, want, "%.40q", challenge)
		assert.Nil(t, answer)
		assert.Less(t, len(err.Error()), 300)
	}
}

func TestHostileDigest(t *testing.T) {
	for challenge, want := range digestChallenges {
		c := newDigest()
		_, _, err := c.Start()
		require.NoError(t, err)
		answer, err := c.Next([]byte(challenge))
		require.ErrorContains(t, err, want, "%.40q", challenge)
		assert.Nil(t, answer)
		assert.Less(t, len(err.Error()), 300)
	}
}

// TestServerProof gives the proofs of servers that do not know the password.
func TestServerProof(t *testing.T) {
	const first = "r=abcdefgh1,s=QQ==,i=4096"
	for _, proof := range []string{"", "v=", "v=!", "v=AAAA", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", "x"} {
		c := newScram()
		_, _, err := c.Start()
		require.NoError(t, err)
		_, err = c.Next([]byte(first))
		require.NoError(t, err)
		_, err = c.Next([]byte(proof))
		require.ErrorIs(t, err, driver.ErrServerProof, proof)
		require.ErrorIs(t, c.Complete(), driver.ErrServerProof)
	}
	c := newScram()
	_, _, _ = c.Start()
	_, err := c.Next([]byte(first))
	require.NoError(t, err)
	_, err = c.Next([]byte("e=invalid-proof\x1b[31m" + strings.Repeat("x", 1000)))
	require.ErrorContains(t, err, `the server refuses: "invalid-proof\x1b[31m`)
	assert.Less(t, len(err.Error()), 200)

	for _, proof := range []string{"", "rspauth=", "rspauth=00000000000000000000000000000000", `rspauth=a,rspauth=b`} {
		d := newDigest()
		_, err := d.Next([]byte(goodDigest))
		require.NoError(t, err)
		_, err = d.Next([]byte(proof))
		require.ErrorIs(t, err, driver.ErrServerProof, proof)
		require.ErrorIs(t, d.Complete(), driver.ErrServerProof)
	}
}

func FuzzScram(f *testing.F) {
	f.Add("r=abcdefgh1,s=QQ==,i=4096", "v=AAAA")
	for c := range scramChallenges {
		f.Add(c, "e=x")
	}
	f.Fuzz(func(t *testing.T, first, final string) {
		if strings.Contains(first, ",i=") && !strings.Contains(first, ",i=4096") {
			// What a million rounds cost is not the question here.
			if _, _, n, err := parseServerFirst(first, "abcdefgh"); err == nil && n > 10000 {
				return
			}
		}
		c := newScram()
		_, _, err := c.Start()
		require.NoError(t, err)
		if _, err = c.Next([]byte(first)); err == nil {
			_, err = c.Next([]byte(final))
		}
		require.Error(t, err, "nobody guesses the proof")
		assert.NotContains(t, err.Error(), secret)
		require.Error(t, c.Complete())
	})
}

func FuzzDigest(f *testing.F) {
	f.Add(goodDigest, "rspauth=x")
	for c := range digestChallenges {
		f.Add(c, "")
	}
	f.Fuzz(func(t *testing.T, first, final string) {
		d := newDigest()
		answer, err := d.Next([]byte(first))
		if err == nil {
			assert.NotContains(t, string(answer), "\n")
			list, perr := parseDirectives(answer)
			require.NoError(t, perr, "what we say can be read by the same rules")
			user, perr := list.one("username")
			require.NoError(t, perr)
			assert.Equal(t, "tim", user)
			_, err = d.Next([]byte(final))
		}
		require.Error(t, err, "nobody guesses the proof")
		assert.NotContains(t, err.Error(), secret)
	})
}

func FuzzBearer(f *testing.F) {
	f.Add(`{"status":"invalid_token","scope":"mail"}`)
	f.Add(`{"status":401}`)
	f.Add("not json")
	f.Add(`{"status":"` + secret + `"}`)
	f.Fuzz(func(t *testing.T, reason string) {
		b := &bearer{name: "OAUTHBEARER", user: "tim", token: secret}
		answer, err := b.Next([]byte(reason))
		require.NoError(t, err)
		assert.Equal(t, []byte{1}, answer)
		text := (&driver.TokenError{Mechanism: b.name, Status: b.status, Scope: b.scope, Err: errRefused}).Error()
		assert.NotContains(t, text, secret)
		assert.Less(t, len(text), 4000)
	})
}
