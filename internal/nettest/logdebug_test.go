package nettest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// TestLogDebugByParameters opens pairs as a profile does: both halves write
// files of the documented names, in the log directory of the spool, and show no
// password and no content.
func TestLogDebugByParameters(t *testing.T) {
	pop, im, sm := pop3test.NewServer(), imaptest.NewServer(), smtptest.NewServer()
	t.Cleanup(func() { pop.Close(); im.Close(); sm.Close() })
	reg := new(driver.Registry)
	reg.AddPair("Internet SMTP/POP3 Server", pop3.Params, smtp.Params)
	reg.AddPair("Internet SMTP/IMAP Server", imap.Params, smtp.Params)
	for _, c := range []struct{ pair, in, addr, user, password, prefix string }{
		{"Internet SMTP/POP3 Server", "POP3", pop.Addr, pop3test.User, pop3test.Password, "POP3SMTP_"},
		{"Internet SMTP/IMAP Server", "IMAP", im.Addr, imaptest.User, imaptest.Password, "IMAPSMTP_"},
	} {
		for _, debug := range []string{"TRUE", "FALSE"} {
			root := t.TempDir()
			host, port, _ := strings.Cut(c.addr, ":")
			smtpHost, smtpPort, _ := strings.Cut(sm.Addr(), ":")
			d, err := reg.Open(c.pair, map[string]string{
				c.in + " Server": host, c.in + " Server Port": port, c.in + " Account Name": c.user, c.in + " Account Password": c.password,
				"SMTP Server": smtpHost, "SMTP Server Port": smtpPort, "From Address": "a@example.com",
				"Allow Insecure Login": "TRUE", "Spool Directory": root, "LogDebug": debug, "Proxy Type": "None",
			})
			require.NoError(t, err)
			_, err = d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
			require.NoError(t, err)
			m, err := driver.NewMessage(&mime.Draft{From: mime.Address{Addr: "a@example.com"}, To: []mime.Address{{Addr: "b@example.com"}}, Text: marker})
			require.NoError(t, err)
			_, err = d.Send(t.Context(), m)
			require.NoError(t, err)
			require.NoError(t, d.Close())
			files, err := filepath.Glob(filepath.Join(root, "log", "*"))
			require.NoError(t, err)
			if debug == "FALSE" {
				assert.Empty(t, files)
				continue
			}
			require.Len(t, files, 2, "a session of each half")
			text := ""
			for _, f := range files {
				assert.True(t, strings.HasPrefix(filepath.Base(f), c.prefix), f)
				data, err := os.ReadFile(f)
				require.NoError(t, err)
				text += string(data)
			}
			assert.Contains(t, text, "C: MAIL FROM:<a@example.com>")
			assert.NotContains(t, text, c.password)
			assert.NotContains(t, text, marker)
		}
	}
}
