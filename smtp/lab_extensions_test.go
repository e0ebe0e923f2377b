package smtp

import (
	"bytes"
	"context"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// A wiretap keeps what went both ways over the connections that it dials.
type wiretap struct {
	mu       sync.Mutex
	out, in  bytes.Buffer
	segments []string // what was written at once
}

func (w *wiretap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &tapped{nc, w}, err
}

func (w *wiretap) take() (out, in string, segments []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, in, segments = w.out.String(), w.in.String(), w.segments
	w.out.Reset()
	w.in.Reset()
	w.segments = nil
	return out, in, segments
}

type tapped struct {
	net.Conn
	w *wiretap
}

func (c *tapped) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	c.w.out.Write(p)
	c.w.segments = append(c.w.segments, string(p))
	c.w.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.w.mu.Lock()
	c.w.in.Write(p[:n])
	c.w.mu.Unlock()
	return n, err
}

// TestLabExtensions looks at the wire for each extension that a server offers:
// it is used. At the sink that offers none, none is.
func TestLabExtensions(t *testing.T) {
	t.Parallel()
	env := lab(t)
	useSecondPostfix(t)
	all := []string{"PIPELINING", "SIZE", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES"}
	for name, tt := range map[string]struct {
		addr  string
		offer []string
	}{
		"postfix":        {env["LAB_SMTP"], all},
		"second postfix": {env["LAB_SMTP2"], all},
		"exim":           {env["LAB_EXIM"], all[:6]},
		"sink":           {env["LAB_SINK_OK"], []string{"PIPELINING", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES"}},
		"no extensions":  {env["LAB_SINK_NOEXT"], nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wiretap{}
			d := labDriver(t, tt.addr, driver.WithDialer(w.dial), WithIdleTime(0))
			offers := func(x string) bool {
				for _, o := range tt.offer {
					if o == x {
						return true
					}
				}
				return false
			}
			m := labMessage(plainText+"\xc3\xbc\r\n", "u47@example.com", "u48@example.com")
			m.EnvelopeID, m.Return = "e+1", "HDRS"
			m.To[0].Notify, m.To[0].Original = []string{"NEVER"}, "rfc822;x@example.com"
			rec, err := send(t, d, m)
			require.NoError(t, err)
			out, in, segments := w.take()
			for _, x := range tt.offer {
				assert.Regexp(t, `(?mi)^250[ -]`+x+`( .*)?\r$`, in, "the lab's server has changed")
			}
			has := func(x, pattern string) {
				t.Helper()
				assert.Equal(t, offers(x), regexp.MustCompile(pattern).MatchString(out), "%s: %s in\n%s", x, pattern, out)
			}
			has("SIZE", `(?m)^MAIL FROM:\S+ .*SIZE=\d+`)
			has("8BITMIME", `(?m)^MAIL FROM:.* BODY=8BITMIME`)
			has("DSN", `(?m)^MAIL FROM:.* RET=HDRS ENVID=e\+2B1`)
			has("DSN", `(?m)^RCPT TO:\S+ NOTIFY=NEVER ORCPT=rfc822;x@example.com`)
			has("CHUNKING", `BDAT \d+ LAST\r\n`)
			assert.NotEqual(t, offers("CHUNKING"), strings.Contains(out, "\r\nDATA\r\n"))
			assert.Equal(t, offers("8BITMIME"), strings.Contains(out, "\xc3\xbc"), "else it is encoded")
			assert.NotContains(t, out, "SMTPUTF8", "nothing needs it")
			flight := false
			for _, s := range segments {
				flight = flight || strings.HasPrefix(s, "MAIL ") && strings.Count(s, "\r\nRCPT ") == 2
			}
			assert.Equal(t, offers("PIPELINING"), flight, "%q", segments)
			if offers("ENHANCEDSTATUSCODES") {
				assert.Equal(t, "2.0.0", rec.Enhanced)
			}
			assert.Equal(t, tt.offer == nil, strings.Contains(out, "HELO "), "HELO only where EHLO is unknown")

			// DISABLECHUNKING: one command at a time, and DATA.
			_, err = send(t, d, m, WithDisableChunking(true))
			require.NoError(t, err)
			out, _, segments = w.take()
			assert.NotContains(t, out, "BDAT")
			for _, s := range segments {
				if strings.HasPrefix(s, "MAIL ") || strings.HasPrefix(s, "RCPT ") {
					assert.Equal(t, 1, strings.Count(s, "\r\n"), "%q", s)
				}
			}

			// SMTPUTF8 where a message needs it, which is an error without.
			m = labMessage("Subject: ü\r\n\r\nhi\r\n", "u47@example.com")
			m.From, m.SMTPUTF8 = "", true
			_, err = send(t, d, m)
			out, _, _ = w.take()
			if offers("SMTPUTF8") {
				require.NoError(t, err)
				assert.Regexp(t, `(?m)^MAIL FROM:<> .*SMTPUTF8`, out)
				return
			}
			var xe *ExtensionError
			require.ErrorAs(t, err, &xe)
			assert.Equal(t, "SMTPUTF8", xe.Extension)
			assert.NotContains(t, out, "MAIL FROM")
		})
	}
}
