package gssapi

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

func labKDC(t *testing.T, cred Credentials, opts ...Option) *Client {
	t.Helper()
	c, err := New(cred, append([]Option{WithConfigFile(labtest.Find(t).Addr(t, "LAB_KRB5_CONF"))}, opts...)...)
	require.NoError(t, err)
	return c
}

// MIT's KDC about our clock.
func TestLabClockSkew(t *testing.T) {
	c := labKDC(t, Password("carol", driver.NewSecret("carol-secret")))
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	err := start(t, c, "imap", "localhost")
	require.ErrorIs(t, err, ErrClockSkew)
	assert.Equal(t, driver.KindLocal, driver.KindOf(err))
	t.Log(err)
}

// A cache of kinit is renewed by MIT's KDC shortly before its end, and is of no
// use after it.
func TestLabCacheLife(t *testing.T) {
	lab := labtest.Find(t)
	if _, err := exec.LookPath("kinit"); err != nil {
		t.Skip("the lab has no kinit")
	}
	path := filepath.Join(t.TempDir(), "cc")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kinit", "-c", path, "-l", "5m", "-r", "2d", "carol@EXAMPLE.COM")
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+lab.Addr(t, "LAB_KRB5_CONF"))
	cmd.Stdin = strings.NewReader("carol-secret\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	c := labKDC(t, CCache(path))
	old, err := c.cached(tgtName(""), "")
	require.NoError(t, err)
	require.Nil(t, old, "no such realm")
	require.NoError(t, start(t, c, "imap", "localhost"))
	first := c.held(krbtgt)
	end := first.end
	assert.WithinDuration(t, time.Now().Add(5*time.Minute), end, 2*time.Minute)

	c = labKDC(t, CCache(path))
	c.now = func() time.Time { return end.Add(-30 * time.Second) }
	second, err := c.cachedTGT(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, first.ticket.EncPart.Cipher, second.ticket.EncPart.Cipher, "the KDC gave another one")
	assert.WithinDuration(t, first.renew, second.renew, time.Second, "within the same renewable life")

	c = labKDC(t, CCache(path))
	c.now = func() time.Time { return end.Add(time.Second) }
	err = start(t, c, "imap", "localhost")
	require.ErrorIs(t, err, ErrExpired)
	t.Log(err)
}

// A KDC that takes connections and says nothing, beside one that works.
func TestLabMuteKDC(t *testing.T) {
	kdc := labtest.Find(t).Addr(t, "LAB_KDC")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = mute.Close() }()
	conf := "[libdefaults]\n default_realm = EXAMPLE.COM\n[realms]\n EXAMPLE.COM = {\n  kdc = " + mute.Addr().String() + "\n  kdc = " + kdc + "\n }\n"
	c, err := New(Password("carol", driver.NewSecret("carol-secret")), WithConfig(conf), WithTimeout(100*time.Millisecond))
	require.NoError(t, err)
	require.NoError(t, start(t, c, "imap", "localhost"))

	c, err = New(Password("carol", driver.NewSecret("carol-secret")), WithConfig(strings.Replace(conf, "  kdc = "+kdc+"\n", "", 1)), WithTimeout(100*time.Millisecond))
	require.NoError(t, err)
	err = start(t, c, "imap", "localhost")
	require.ErrorIs(t, err, ErrUnreachable)
	t.Log(err)
}
