package pop3

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A lab is the set of real servers described in ../shared/lab/README.md.
type lab struct {
	env  map[string]string
	tool string
	pool *x509.CertPool
}

// labDir is where the lab's servers keep their files.
func labDir() string {
	if dir := os.Getenv("LAB_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(os.TempDir(), "maillab")
}

func findLab(t testing.TB) *lab {
	t.Helper()
	dir := labDir()
	f, err := os.Open(filepath.Join(dir, "lab.env"))
	if err != nil {
		t.Skipf("the lab is not up: no lab.env in %s", dir)
	}
	defer func() { _ = f.Close() }()
	l := &lab{env: make(map[string]string), pool: x509.NewCertPool()}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), "="); ok {
			l.env[k] = v
		}
	}
	shared := os.Getenv("MAILDRIVER_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	if l.tool, err = filepath.Abs(filepath.Join(shared, "lab", "lab")); err != nil {
		t.Skip("the lab's tool is not there: ", err)
	}
	if _, err := os.Stat(l.tool); err != nil {
		t.Skip("the lab's tool is not there: ", err)
	}
	pem, err := os.ReadFile(l.env["LAB_CA"])
	require.NoError(t, err)
	require.True(t, l.pool.AppendCertsFromPEM(pem))
	return l
}

// do runs the lab's tool.
func (l *lab) do(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, l.tool, args...).CombinedOutput()
	require.NoError(t, err, "lab %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// user empties a mailbox and returns its login.
func (l *lab) user(t testing.TB, name string) driver.Option {
	t.Helper()
	l.do(t, "reset", name)
	t.Cleanup(func() { l.do(t, "reset", name) })
	return driver.WithLogin(name, name+"-secret")
}

// at is the lab's POP3 or POP3S at another address of this machine.
func (l *lab) at(ip, key string) string {
	_, port, _ := net.SplitHostPort(l.env[key])
	return net.JoinHostPort(ip, port)
}

func TestLabLogin(t *testing.T) {
	l := findLab(t)
	login := l.user(t, "u40")
	l.do(t, "fill", "u40", "3")
	tls := driver.WithRootCAs(l.pool)
	for _, c := range []struct {
		name, key string
		opts      []driver.Option
	}{
		{"USER", "LAB_POP3", []driver.Option{driver.WithMechanisms("USER")}},
		{"APOP", "LAB_POP3", []driver.Option{driver.WithMechanisms("APOP")}},
		{"PLAIN", "LAB_POP3", []driver.Option{driver.WithMechanisms("PLAIN")}},
		{"LOGIN", "LAB_POP3", []driver.Option{driver.WithMechanisms("LOGIN")}},
		{"CRAM-MD5", "LAB_POP3", []driver.Option{driver.WithMechanisms("CRAM-MD5")}},
		{"strongest in clear", "LAB_POP3", nil},
		{"STLS", "LAB_POP3", []driver.Option{tls, driver.WithSecurity(driver.SecurityExplicit)}},
		{"STLS USER", "LAB_POP3", []driver.Option{tls, driver.WithSecurity(driver.SecurityExplicit), driver.WithMechanisms("USER")}},
		{"implicit TLS", "LAB_POP3S", []driver.Option{tls, driver.WithSecurity(driver.SecurityImplicit)}},
		{"implicit TLS APOP", "LAB_POP3S", []driver.Option{tls, driver.WithSecurity(driver.SecurityImplicit), driver.WithMechanisms("APOP")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mb := openBox(t, l.env[c.key], append([]driver.Option{login}, c.opts...)...)
			ids := mustList(t, mb)
			assert.Len(t, ids, 3)
			assert.Equal(t, DefaultWindow, mb.s.pipelined(), "Dovecot offers PIPELINING")
			got, err := fetchAll(t.Context(), mb, ids)
			require.NoError(t, err)
			assert.Len(t, got, 3)
			require.NoError(t, mb.Commit(t.Context()))
		})
	}
}

func TestLabPasswordOfOddCharacters(t *testing.T) {
	l := findLab(t)
	login := driver.WithLogin("special", `sp "q" \b ü€ %s`)
	for _, mech := range []string{"USER", "APOP", "PLAIN", "LOGIN", "CRAM-MD5"} {
		mb, err := tryOpen(t, l.env["LAB_POP3"], login, driver.WithMechanisms(mech))
		require.NoError(t, err, mech)
		require.NoError(t, mb.Commit(t.Context()))
	}
}

func TestLabRefusals(t *testing.T) {
	t.Parallel()
	l := findLab(t)
	t.Run("F22 wrong password", func(t *testing.T) {
		for _, mech := range []string{"USER", "APOP", "PLAIN", "CRAM-MD5"} {
			_, err := tryOpen(t, l.env["LAB_POP3"], driver.WithLogin("u41", "wrong-password"), driver.WithMechanisms(mech))
			require.Error(t, err)
			assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%s: %v", mech, err)
			assert.NotContains(t, err.Error(), "wrong-password")
		}
	})
	for _, c := range []struct{ name, ip, reason string }{
		{"A25 expired certificate", "127.0.0.2", "expired"},
		{"A26 certificate of another host", "127.0.0.3", "wrong.example.net"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for key, sec := range map[string]driver.Security{"LAB_POP3": driver.SecurityExplicit, "LAB_POP3S": driver.SecurityImplicit} {
				_, err := tryOpen(t, l.at(c.ip, key), driver.WithLogin("u41", "u41-secret"), driver.WithRootCAs(l.pool), driver.WithSecurity(sec))
				require.Error(t, err)
				assert.Equal(t, driver.KindPolicy, driver.KindOf(err), err)
				ce, ok := errors.AsType[*netx.CertificateError](err)
				require.True(t, ok, "%v", err)
				assert.Contains(t, ce.Reason, c.reason)
			}
		})
	}
	t.Run("A03 server that insists on TLS", func(t *testing.T) {
		login := l.user(t, "u42")
		_, err := tryOpen(t, l.at("127.0.0.4", "LAB_POP3"), login, driver.WithMechanisms("PLAIN", "USER"))
		require.ErrorContains(t, err, "only in TLS")
		mb := openBox(t, l.at("127.0.0.4", "LAB_POP3"), login, driver.WithRootCAs(l.pool), driver.WithSecurity(driver.SecurityExplicit))
		require.NoError(t, mb.Commit(t.Context()))
	})
}

// TestF21LabMaildropInUse is slow because Dovecot waits for the lock, about 12
// seconds, before it gives up.
func TestF21LabMaildropInUse(t *testing.T) {
	if testing.Short() {
		t.Skip("12 seconds")
	}
	t.Parallel()
	l := findLab(t)
	login := driver.WithLogin("locked", "locked-secret")
	first := openBox(t, l.env["LAB_POP3"], login)
	_, err := tryOpen(t, l.env["LAB_POP3"], login, driver.WithTimeout(40*time.Second))
	re, ok := errors.AsType[*ReplyError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "IN-USE", re.Code)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.NoError(t, first.Commit(t.Context()))
}

// TestLabConversation holds the fake and Dovecot to the same conversation.
func TestLabConversation(t *testing.T) {
	l := findLab(t)
	login := l.user(t, "u43")
	l.do(t, "fill", "u43", "500")
	addr := l.env["LAB_POP3"]

	mb := openBox(t, addr, login)
	ids := mustList(t, mb)
	require.Len(t, ids, 500)
	n := 0
	require.NoError(t, mb.Fetch(t.Context(), ids, func(id driver.ID, r io.Reader) error {
		assert.Equal(t, ids[n], id)
		n++
		_, err := io.Copy(io.Discard, r)
		return err
	}))
	assert.Equal(t, 500, n)
	require.NoError(t, mb.Remove(t.Context(), ids[:400]))
	require.NoError(t, mb.Close())
	assert.Equal(t, "500", l.do(t, "count", "u43"), "F07: no QUIT, nothing is removed")

	mb = openBox(t, addr, login)
	require.Equal(t, ids, mustList(t, mb), "UIDLs stay")
	require.NoError(t, mb.Remove(t.Context(), ids[:400]))
	require.NoError(t, mb.Remove(t.Context(), ids[:400]), "again")
	require.NoError(t, mb.KeepAlive(t.Context()))
	r, err := mb.Header(t.Context(), ids[450])
	require.NoError(t, err)
	header, err := io.ReadAll(r)
	require.NoError(t, err)
	got, err := fetchAll(t.Context(), mb, ids[450:451])
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(got[ids[450]], string(header)))
	assert.True(t, strings.HasSuffix(string(header), "\r\n\r\n"))
	require.NoError(t, mb.Commit(t.Context()))
	assert.Equal(t, "100", l.do(t, "count", "u43"))
}

// TestF25LabExpunged: somebody else removes mails while the session runs.
func TestF25LabExpunged(t *testing.T) {
	l := findLab(t)
	login := l.user(t, "u44")
	l.do(t, "fill", "u44", "5")
	mb := openBox(t, l.env["LAB_POP3"], login)
	ids := mustList(t, mb)
	require.Len(t, ids, 5)
	l.do(t, "reset", "u44")
	got, err := fetchAll(t.Context(), mb, ids)
	if err != nil { // Dovecot may blame itself, or end the session
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err), err)
		return
	}
	assert.Less(t, len(got), 6)
}

// TestLabBigMail streams 200 MB, with memory that does not grow with it.
func TestLabBigMail(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MB")
	}
	l := findLab(t)
	login := l.user(t, "u45")
	const size = 200 << 20
	file := filepath.Join(t.TempDir(), "big.eml")
	f, err := os.Create(file)
	require.NoError(t, err)
	_, err = io.Copy(f, sized(size)())
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Chmod(file, 0o644)) //nolint:gosec // the lab's servers read it as another user
	l.do(t, "put", "u45", file)
	require.NoError(t, os.Remove(file))

	mb := openBox(t, l.env["LAB_POP3"], login, driver.WithTimeout(30*time.Second))
	ids := mustList(t, mb)
	require.Len(t, ids, 1)
	want, got := sha256.New(), sha256.New()
	_, err = io.Copy(want, sized(size)())
	require.NoError(t, err)
	n, grown := measure(t, func() int64 {
		var n int64
		require.NoError(t, mb.Fetch(t.Context(), ids, func(_ driver.ID, r io.Reader) error {
			n, err = io.Copy(got, r)
			return err
		}))
		return n
	})
	assert.Greater(t, n, int64(size))
	assert.Less(t, grown, uint64(4<<20), "bytes allocated for a mail of 200 MB")
	assert.Equal(t, fmt.Sprintf("%x", want.Sum(nil)), fmt.Sprintf("%x", got.Sum(nil)))
	require.NoError(t, mb.Commit(t.Context()))
}

// measure tells how much memory f allocates in all, freed or not.
func measure(t *testing.T, f func() int64) (n int64, allocated uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n = f()
	runtime.ReadMemStats(&after)
	return n, after.TotalAlloc - before.TotalAlloc
}
