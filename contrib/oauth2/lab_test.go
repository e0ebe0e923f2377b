package oauth2_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/spool"
)

const labUser = "u36"

// labToken makes one that the lab's Dovecot takes, for so many seconds.
func labToken(t *testing.T, seconds string) string {
	t.Helper()
	shared := os.Getenv("MAILDRIVER_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	tool := filepath.Join(shared, "lab", "lab")
	if _, err := os.Stat(tool); err != nil {
		t.Skip("the lab's tool is not there: ", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "token", labUser, seconds).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// From the refresh token to the mailbox: the mail server refuses the first
// access token, the driver asks the source once more, the refresh token changes
// each time and is stored. The server's log names mechanism and user.
func TestLabRefreshTokenToMailbox(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, labUser)
	ended, good := labToken(t, "-60"), labToken(t, "3600")
	pem, err := os.ReadFile(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	issue := func(access, refresh string) http.HandlerFunc {
		return oauth2test.Answer(200, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600,"refresh_token":%q}`, access, refresh))
	}
	for _, mech := range []string{"OAUTHBEARER", "XOAUTH2"} {
		for _, proto := range []string{"imap", "pop3"} {
			t.Run(proto+" "+mech, func(t *testing.T) {
				s := oauth2test.New()
				s.Then(issue(ended, "refresh-1"), issue(good, "refresh-2"))
				var stored []string
				source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), func(_ context.Context, r driver.Secret) error {
					stored = append(stored, r.Reveal())
					return nil
				})
				require.NoError(t, err)
				sp, err := spool.New(t.TempDir())
				require.NoError(t, err)
				defer func() { assert.NoError(t, sp.Close()) }()
				var logs bytes.Buffer
				opts := []driver.Option{
					driver.WithSecurity(driver.SecurityImplicit), driver.WithRootCAs(pool), driver.WithSpool(sp),
					driver.WithLogin(labUser, ""), driver.WithTokenSource(source), driver.WithMechanisms(mech),
					driver.WithLogger(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
				}
				var d driver.Driver
				if proto == "imap" {
					d, err = imap.New(lab.Addr(t, "LAB_IMAPS"), opts...)
				} else {
					d, err = pop3.New(lab.Addr(t, "LAB_POP3S"), opts...)
				}
				require.NoError(t, err)
				defer func() { assert.NoError(t, d.Close()) }()
				box.Append([]byte("Subject: token\r\n\r\nhello\r\n"))
				log := openLog(t, filepath.Join(lab.Addr(t, "LAB_DIR"), "log", "dovecot.log"))
				got := 0
				take := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
					got++
					return ev.DeleteTempFiles()
				})
				for range 2 {
					_, err = d.Poll(t.Context(), take)
					require.NoError(t, err)
				}
				assert.Equal(t, 1, got)
				assert.Equal(t, []string{"refresh-1", "refresh-2"}, stored)
				assert.Len(t, s.Requests(), 2, "the second session uses the token of the first")
				log.wait(t, proto+"-login:", "Login: user=<"+labUser+">, method="+mech)
				for _, secret := range []string{ended, good, "refresh-1", "refresh-2", s.ClientSecret} {
					assert.NotContains(t, logs.String(), secret)
				}
			})
		}
	}
}

type logFile struct {
	f    *os.File
	seen bytes.Buffer
}

func openLog(t *testing.T, path string) *logFile {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	return &logFile{f: f}
}

// wait until a line has all the words.
func (l *logFile) wait(t *testing.T, words ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		if _, err := io.Copy(&l.seen, l.f); err != nil {
			return false
		}
	lines:
		for line := range strings.Lines(l.seen.String()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return true
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "no line with %q", words)
}
