package gssapi

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/stretchr/testify/require"
)

// Whatever a KDC answers, no panic and no ticket: the fuzzer knows no key.
func FuzzKDCAnswer(f *testing.F) {
	b, err := testKeys().Marshal()
	require.NoError(f, err)
	path := filepath.Join(f.TempDir(), "keytab") // deriving keys would take all the time
	require.NoError(f, os.WriteFile(path, b, 0o600))
	cred := Keytab(testUser, path)
	k := newKDC(f)
	var answers [][]byte
	k.raw = func(b []byte) []byte { answers = append(answers, bytes.Clone(b)); return b }
	require.NoError(f, start(f, k.client(cred), "imap", "mail.a.example"))
	for _, a := range answers {
		f.Add(a)
	}
	f.Add([]byte{})
	f.Add(k.refuse(errorcode.KDC_ERR_PREAUTH_REQUIRED, []byte{0x30, 0}))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, a := range answers {
			if bytes.Equal(a, answer) {
				return // from the seeds, for another nonce; checked elsewhere
			}
		}
		k := newKDC(t)
		k.raw = func([]byte) []byte { return answer }
		if err := start(t, k.client(cred), "imap", "mail.a.example"); err == nil {
			t.Fatalf("a ticket out of %x", answer)
		}
	})
}

// No token but the acceptor's completes a context.
func FuzzContextToken(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(krbError(errorcode.KRB_AP_ERR_SKEW), false)
	for _, state := range []int{negCompleted, negReject, negRequestMIC} {
		b, err := choice(1, negTokenResp{State: 0, Mech: oidKerberos, Token: krbError(int32(state)), MechsMIC: []byte("x")})
		require.NoError(f, err)
		f.Add(b, true)
	}
	k := newKDC(f)
	c := k.client(right())
	require.NoError(f, start(f, c, "imap", "mail.a.example"))
	held := c.held("imap/mail.a.example@")
	f.Fuzz(func(t *testing.T, token []byte, spnego bool) {
		sc := newContext(c, held, "imap/mail.a.example", spnego, nil)
		_, _, err := sc.Step(nil)
		require.NoError(t, err)
		if _, done, err := sc.Step(token); done || err == nil {
			t.Fatalf("done by %x", token)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	key, err := generateKey()
	require.NoError(f, err)
	good, err := wrapToken(key, usageTheirs, fromAcceptor, 1, []byte{1, 0, 0, 0})
	require.NoError(f, err)
	f.Add(good[:16])
	f.Add(append(bytes.Clone(good), 0))
	f.Add([]byte("\x05\x04\x03\xff\x00\x00\x00\x1c\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, token []byte) {
		if m, err := unwrapToken(key, usageTheirs, fromAcceptor, 1, token); err == nil && !bytes.Equal(m, []byte{1, 0, 0, 0}) {
			t.Fatalf("accepted %x", token)
		}
	})
}

func FuzzCache(f *testing.F) {
	w := &cacheWriter{[]byte{5, 3}}
	name := tgtName(testRealm)
	w.principal(name, testRealm)
	w.principal(name, testRealm)
	f.Add(w.b)
	f.Add([]byte{5, 4, 0, 12, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		begun := time.Now()
		_, list, err := parseCache(b)
		if err == nil && len(list)*30 > len(b) {
			t.Fatalf("%d entries in %d bytes", len(list), len(b))
		}
		if time.Since(begun) > time.Second {
			t.Fatal("too slow")
		}
	})
}

func FuzzKeytab(f *testing.F) {
	b, err := testKeys().Marshal()
	require.NoError(f, err)
	f.Add(b[:200])
	f.Add([]byte{5, 2, 0x80, 0, 0, 0})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "keytab")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		_, _ = readKeytab(path)
	})
}
