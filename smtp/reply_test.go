package smtp

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// pipe gives a connection whose peer sends text and closes.
func pipe(t testing.TB, text string) *netx.Conn {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		_, _ = theirs.Write([]byte(text))
	}()
	n := driver.NewNetwork()
	n.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	c, err := netx.Dial(context.Background(), &n, driverName, "test.example:25", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c
}

var replies = []struct {
	name, text string
	want       reply
	bad        string
}{
	{name: "one line", text: "250 ok\r\n", want: reply{code: 250, enhanced: "", lines: []string{"ok"}}},
	{name: "no text", text: "250\r\n", want: reply{code: 250, enhanced: "", lines: []string{""}}},
	{name: "bare LF", text: "250 ok\n", want: reply{code: 250, enhanced: "", lines: []string{"ok"}}},
	{name: "many lines", text: "250-a\r\n250-b\r\n250 c\r\n", want: reply{code: 250, enhanced: "", lines: []string{"a", "b", "c"}}},
	{name: "last line without text", text: "250-a\r\n250\r\n", want: reply{code: 250, enhanced: "", lines: []string{"a", ""}}},
	{name: "enhanced", text: "550 5.1.1 no such user\r\n", want: reply{code: 550, enhanced: "5.1.1", lines: []string{"no such user"}}},
	{name: "enhanced on each line", text: "550-5.7.26 one\r\n550 5.7.26 two\r\n", want: reply{code: 550, enhanced: "5.7.26", lines: []string{"one", "two"}}},
	{name: "enhanced of another class", text: "250 5.1.1 sic\r\n", want: reply{code: 250, enhanced: "", lines: []string{"5.1.1 sic"}}},
	{name: "a version is no status", text: "220 2.1 ready\r\n", want: reply{code: 220, enhanced: "", lines: []string{"2.1 ready"}}},
	{name: "control characters stay data", text: "550 \x1b[31mred\r\n", want: reply{code: 550, enhanced: "", lines: []string{"\x1b[31mred"}}},
	{name: "a challenge", text: "334 abc=\r\n", want: reply{code: 334, lines: []string{"abc="}, challenge: "abc="}},
	{name: "codes differ", text: "250-a\r\n550 b\r\n", bad: "codes 250 and 550"},
	{name: "no code", text: "hello\r\n", bad: `not a reply: "hello"`},
	{name: "HTTP", text: "HTTP/1.1 400 Bad Request\r\n", bad: "not a reply"},
	{name: "empty line", text: "\r\n", bad: "not a reply"},
	{name: "1yz", text: "150 ok\r\n", bad: "not a reply"},
	{name: "no separator", text: "250ok\r\n", bad: "not a reply"},
	{name: "cut short", text: "250-a\r\n250 b", bad: "closed the connection"},
	{name: "A20 long line", text: "250 " + strings.Repeat("x", maxReplyLine+10) + "\r\n", bad: "limit exceeded"},
	{name: "A20 many lines", text: strings.Repeat("250-x\r\n", maxReplyLines+1) + "250 x\r\n", bad: "more than 1000 lines"},
	{name: "A20 many bytes", text: strings.Repeat("250-"+strings.Repeat("x", 60<<10)+"\r\n", 20) + "250 x\r\n", bad: "more than 1048576 bytes"},
}

func TestReadReply(t *testing.T) {
	for _, tt := range replies {
		t.Run(tt.name, func(t *testing.T) {
			c := pipe(t, tt.text)
			r, err := readReply(c, time.Now().Add(5*time.Second))
			if tt.bad == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.want, *r)
				return
			}
			require.ErrorContains(t, err, tt.bad)
			assert.Less(t, len(err.Error()), 1000, "errors are short")
			if tt.name != "cut short" {
				assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
			}
			_, again := readReply(c, time.Now().Add(time.Second))
			assert.Equal(t, err, again, "a connection that is out of step is dead")
		})
	}
}

func FuzzReplyLine(f *testing.F) {
	for _, r := range replies {
		line, _, _ := strings.Cut(r.text, "\r\n")
		f.Add([]byte(line[:min(len(line), 200)]))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		code, _, text, err := parseReplyLine(line)
		if err != nil {
			assert.Less(t, len(err.Error()), 4*netx.MaxQuoted+100)
			return
		}
		assert.True(t, code >= 200 && code <= 599)
		r := reply{code: code, lines: []string{text}}
		r.takeEnhanced()
		if r.enhanced != "" {
			assert.Equal(t, byte('0'+code/100), r.enhanced[0])
			whole := r.enhanced + " " + r.lines[0]
			assert.True(t, whole == text || whole == text+" ", "nothing is lost")
		}
		for _, b := range []byte(r.error(StageDot, "h:25").Error()) {
			assert.False(t, b < ' ' || b == 0x7f, "errors hold no control characters")
		}
	})
}

func TestParseExtensions(t *testing.T) {
	e := parseExtensions([]string{"mx.example greets you", "size 1000", "AUTH=LOGIN", "auth plain LOGIN", "  8BITMIME ", "", "SIZEX 5"})
	assert.True(t, e.esmtp)
	assert.Equal(t, int64(1000), e.maxSize)
	assert.Equal(t, []string{"LOGIN", "PLAIN", "LOGIN"}, e.auth)
	assert.True(t, e.has("8BITMIME"))
	assert.False(t, e.has("MX.EXAMPLE"), "the first line is the server's name")
	for _, size := range []string{"SIZE", "SIZE 0", "SIZE -5", "SIZE x", "SIZE 99999999999999999999"} {
		e := parseExtensions([]string{"mx", size})
		assert.Zero(t, e.maxSize, size)
	}
	assert.NotPanics(t, func() { parseExtensions(nil) })
}
