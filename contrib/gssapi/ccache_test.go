package gssapi

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// A cacheWriter writes the format that parseCache reads.
type cacheWriter struct{ b []byte }

func (w *cacheWriter) u16(n uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, n) }
func (w *cacheWriter) u32(n uint32)   { w.b = binary.BigEndian.AppendUint32(w.b, n) }
func (w *cacheWriter) data(b []byte)  { w.u32(uint32(len(b))); w.b = append(w.b, b...) }
func (w *cacheWriter) at(t time.Time) { w.u32(uint32(max(t.Unix(), 0))) }

func (w *cacheWriter) principal(name types.PrincipalName, realm string) {
	w.u32(uint32(name.NameType))
	w.u32(uint32(len(name.NameString)))
	w.data([]byte(realm))
	for _, s := range name.NameString {
		w.data([]byte(s))
	}
}

func (w *cacheWriter) ticket(t *testing.T, version byte, x *ticket) {
	t.Helper()
	w.principal(x.cname, x.crealm)
	w.principal(x.name, x.realm)
	w.u16(uint16(x.key.KeyType))
	if version == 3 {
		w.u16(uint16(x.key.KeyType))
	}
	w.data(x.key.KeyValue)
	w.at(time.Unix(1, 0))
	w.at(time.Unix(1, 0))
	w.at(x.end)
	w.at(x.renew)
	w.b = append(w.b, 0)
	w.u32(0)
	w.u32(1) // an address
	w.u16(2)
	w.data([]byte{127, 0, 0, 1})
	w.u32(0)
	b, err := x.ticket.Marshal()
	require.NoError(t, err)
	w.data(b)
	w.data(nil)
}

func writeCache(t *testing.T, version byte, owner types.PrincipalName, tickets ...*ticket) string {
	t.Helper()
	w := &cacheWriter{[]byte{5, version}}
	if version == 4 {
		w.data([]byte{0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}) // the header has 16 bits of length:
		w.b = append([]byte{5, 4}, w.b[4:]...)
	}
	w.principal(owner, testRealm)
	setting := *tickets[0]
	setting.realm = "X-CACHECONF:"
	setting.ticket = messages.Ticket{}
	for _, x := range append([]*ticket{&setting}, tickets...) {
		w.ticket(t, version, x)
	}
	path := filepath.Join(t.TempDir(), "cc")
	require.NoError(t, os.WriteFile(path, w.b, 0o600))
	return path
}

// tickets gets the real thing from the fake.
func tickets(t *testing.T, k *fakeKDC) (tgt, imap *ticket) {
	t.Helper()
	c := k.client(right())
	require.NoError(t, start(t, c, "imap", "mail.a.example"))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = nil
	return c.held(krbtgt), c.held("imap/mail.a.example@")
}

func TestCacheTickets(t *testing.T) {
	for _, version := range []byte{3, 4} {
		k := newKDC(t)
		tgt, imap := tickets(t, k)
		path := writeCache(t, version, tgt.cname, tgt, imap)
		c := k.client(CCache(path))
		sc, token := begin(t, c, "imap", nil)
		assert.Empty(t, k.asked, "the service's ticket is in the cache")
		a := &acceptor{keys: k.keys, bind: noBinding}
		answer, err := a.accept(token)
		require.NoError(t, err)
		_, done, err := sc.Step(answer)
		require.NoError(t, err)
		assert.True(t, done)
		require.NoError(t, start(t, c, "smtp", "mail.a.example"))
		assert.Equal(t, 0, k.count("AS"))
		assert.Equal(t, 1, k.count("TGS smtp"))
	}
}

func TestCachePaths(t *testing.T) {
	k := newKDC(t)
	tgt, _ := tickets(t, k)
	path := writeCache(t, 4, tgt.cname, tgt)
	require.NoError(t, start(t, k.client(CCache("FILE:"+path)), "imap", "mail.a.example"))
	t.Setenv("KRB5CCNAME", "FILE:"+path)
	require.NoError(t, start(t, k.client(CCache("")), "imap", "mail.a.example"))
	t.Setenv("KRB5CCNAME", "KEYRING:persistent:0")
	err := start(t, k.client(CCache("")), "imap", "mail.a.example")
	require.ErrorContains(t, err, `"KEYRING" are not supported`)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	t.Setenv("KRB5CCNAME", "")
	got, err := (&Credentials{kind: fromCache}).cachePath()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(got, "/tmp/krb5cc_"))
}

// A ticket about to end is renewed; one that can't be is used to its end, and
// then the error says what to do.
func TestCacheLife(t *testing.T) {
	for _, renewable := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := newKDC(t)
			k.life = time.Hour
			if renewable {
				k.renew = 24 * time.Hour
			}
			tgt, _ := tickets(t, k)
			assert.Equal(t, renewable, !tgt.renew.IsZero())
			path := writeCache(t, 4, tgt.cname, tgt)
			c := k.client(CCache(path))
			time.Sleep(59*time.Minute + 30*time.Second) // of the bubble's clock
			require.NoError(t, start(t, c, "imap", "mail.a.example"))
			if renewable {
				assert.Equal(t, []string{
					"dial kdc1.a.example", "TGS krbtgt/A.EXAMPLE@A.EXAMPLE",
					"dial kdc1.a.example", "TGS imap/mail.a.example@A.EXAMPLE",
				}, k.asked)
				return
			}
			time.Sleep(31 * time.Second) // of the bubble's clock
			err := start(t, c, "smtp", "mail.a.example")
			require.ErrorIs(t, err, ErrExpired)
			assert.Equal(t, driver.KindAuth, driver.KindOf(err))
			assert.ErrorContains(t, err, "run kinit")

			// Somebody did.
			k.life = 10 * time.Hour
			tgt, _ = tickets(t, k)
			require.NoError(t, os.Rename(writeCache(t, 4, tgt.cname, tgt), path))
			require.NoError(t, start(t, c, "smtp", "mail.a.example"))
		})
	}
}

func TestCacheErrors(t *testing.T) {
	k := newKDC(t)
	tgt, imap := tickets(t, k)
	weak, broken, other := *tgt, *tgt, *tgt
	weak.key.KeyType = 23
	broken.ticket = messages.Ticket{}
	other.cname.NameString = []string{"bob"}
	for name, tt := range map[string]struct {
		path string
		says string
		kind driver.Kind
	}{
		"absent":        {filepath.Join(t.TempDir(), "none"), "no such file", driver.KindConfig},
		"no tickets":    {writeCache(t, 4, tgt.cname, imap), "run kinit", driver.KindAuth},
		"weak":          {writeCache(t, 4, tgt.cname, &weak), "not AES", driver.KindConfig},
		"somebody else": {writeCache(t, 4, tgt.cname, &other), "run kinit", driver.KindAuth},
		"directory":     {t.TempDir(), "not a regular file", driver.KindConfig},
	} {
		t.Run(name, func(t *testing.T) {
			err := start(t, k.client(CCache(tt.path)), "smtp", "mail.a.example")
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, tt.kind, driver.KindOf(err))
			noSecret(t, err)
		})
	}
}

// A cache that was cut, at each byte, is refused or holds whole entries.
func TestCacheCut(t *testing.T) {
	k := newKDC(t)
	tgt, imap := tickets(t, k)
	b, err := os.ReadFile(writeCache(t, 4, tgt.cname, tgt, imap))
	require.NoError(t, err)
	_, whole, err := parseCache(b)
	require.NoError(t, err)
	require.Len(t, whole, 2)
	good := 0
	for n := range b {
		_, list, err := parseCache(b[:n])
		if err == nil {
			good++
			assert.Less(t, len(list), 2)
		}
	}
	assert.Equal(t, 3, good, "after the owner, the setting and the first ticket")
	for _, v := range []byte{0, 1, 2, 5} {
		_, _, err := parseCache(append([]byte{5, v}, b[2:]...))
		require.ErrorIs(t, err, errCache)
	}
	// A count of entries that the file can't hold costs nothing.
	w := &cacheWriter{[]byte{5, 3}}
	w.u32(1)
	w.u32(1 << 31)
	w.data(nil)
	_, _, err = parseCache(w.b)
	require.ErrorIs(t, err, errCache)
}
