package pop3test

import (
	"bufio"
	"crypto/md5" //nolint:gosec // APOP
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	engine "github.com/knadh/go-pop3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts ...Option) *Server {
	t.Helper()
	s := NewServer(opts...)
	t.Cleanup(s.Close)
	return s
}

// independent connects go-pop3, a client that other people wrote, as it is.
func independent(t *testing.T, s *Server) *engine.Conn {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	c, err := engine.New(engine.Opt{Host: host, Port: n, TLSEnabled: s.cfg.implicit, TLSSkipVerify: true}).NewConn()
	require.NoError(t, err)
	return c
}

func TestIndependentClient(t *testing.T) {
	for name, opts := range map[string][]Option{"clear": nil, "TLS": {WithTLS()}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, opts...)
			raw := []byte("Subject: dots\r\n\r\n.\r\n..x\r\nend\r\n")
			first, second := s.Add(raw), s.AddText("Subject: two\n\nsecond\n")

			c := independent(t, s)
			require.Error(t, c.Auth(User, "wrong"))
			require.NoError(t, c.Auth(User, Password))
			count, size, err := c.Stat()
			require.NoError(t, err)
			assert.Equal(t, 2, count)
			assert.Equal(t, len(raw)+len("Subject: two\r\n\r\nsecond\r\n"), size)
			list, err := c.List(0)
			require.NoError(t, err)
			assert.Equal(t, len(raw), list[0].Size)
			uidl, err := c.Uidl(0)
			require.NoError(t, err)
			require.Len(t, uidl, 2)
			assert.Equal(t, first, uidl[0].UID)
			one, err := c.Uidl(2)
			require.NoError(t, err)
			assert.Equal(t, uidl[1:], one)
			body, err := c.RetrRaw(1)
			require.NoError(t, err)
			assert.Equal(t, string(raw), body.String())
			top, err := c.Top(2, 0)
			require.NoError(t, err)
			assert.Equal(t, "two", top.Header.Get("Subject"))
			require.NoError(t, c.Noop())

			require.NoError(t, c.Dele(1, 2))
			require.NoError(t, c.Rset())
			require.NoError(t, c.Dele(1))
			require.Error(t, c.Dele(1))
			assert.Len(t, s.Messages(), 2, "DELE takes effect at QUIT")
			require.NoError(t, c.Quit())

			left := s.Messages()
			require.Len(t, left, 1)
			assert.Equal(t, second, left[0].UIDL)
			ledger := s.Ledger()
			assert.True(t, ledger[0].Removed)
			assert.Equal(t, 1, ledger[0].Retrieved)
			assert.Equal(t, 2, ledger[0].Marked)
			assert.False(t, ledger[1].Removed)
			assert.Zero(t, ledger[1].Retrieved)
			assert.Empty(t, s.Violations())
		})
	}
}

// speaker says lines and reads lines.
type speaker struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, s *Server) *speaker {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return &speaker{t, conn, bufio.NewReader(conn)}
}

func (p *speaker) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.conn, line+"\r\n")
	require.NoError(p.t, err)
}

func (p *speaker) hear() string {
	p.t.Helper()
	line, err := p.r.ReadString('\n')
	require.NoError(p.t, err)
	return strings.TrimSuffix(line, "\r\n")
}

func (p *speaker) ask(line string) string {
	p.t.Helper()
	p.say(line)
	return p.hear()
}

func (p *speaker) rest() string {
	b, _ := io.ReadAll(p.r)
	return string(b)
}

func (p *speaker) multi(line string) []string {
	p.t.Helper()
	require.True(p.t, strings.HasPrefix(p.ask(line), "+OK"))
	var lines []string
	for {
		l := p.hear()
		if l == "." {
			return lines
		}
		lines = append(lines, l)
	}
}

func (p *speaker) login() {
	p.t.Helper()
	p.hear()
	p.ask("USER " + User)
	require.Equal(p.t, "+OK logged in", p.ask("PASS "+Password))
}

func TestAPOPAndAuth(t *testing.T) {
	s := start(t, WithAPOP(), WithAuth("PLAIN", "LOGIN", "CRAM-MD5", "X-OTHER"))
	p := dial(t, s)
	stamp := regexp.MustCompile(`<[^>]+>`).FindString(p.hear())
	require.NotEmpty(t, stamp)
	assert.True(t, strings.HasPrefix(p.ask("APOP user 00000000000000000000000000000000"), "-ERR [AUTH]"))
	sum := md5.Sum([]byte(stamp + Password)) //nolint:gosec // APOP
	assert.Equal(t, "+OK logged in", p.ask("APOP user "+hex.EncodeToString(sum[:])))
	assert.Equal(t, "+OK bye", p.ask("QUIT"))

	p = dial(t, s)
	p.hear()
	for _, line := range []string{"AUTH X-OTHER", "AUTH NONE", "AUTH PLAIN AAAA", "AUTH PLAIN !"} {
		assert.True(t, strings.HasPrefix(p.ask(line), "-ERR"), line)
	}
	assert.Equal(t, "+ ", p.ask("AUTH PLAIN"))
	assert.True(t, strings.HasPrefix(p.ask("*"), "-ERR"))
	assert.Equal(t, "+ VXNlcm5hbWU6", p.ask("AUTH LOGIN"))
	assert.Equal(t, "+ UGFzc3dvcmQ6", p.ask("dXNlcg=="))
	assert.True(t, strings.HasPrefix(p.ask("d3Jvbmc="), "-ERR [AUTH]"))
	assert.Contains(t, p.multi("CAPA"), "SASL PLAIN LOGIN CRAM-MD5 X-OTHER")
}

func TestSTLS(t *testing.T) {
	s := start(t, WithTLSRequired())
	p := dial(t, s)
	p.hear()
	assert.Contains(t, p.multi("CAPA"), "STLS")
	assert.NotContains(t, p.multi("CAPA"), "USER")
	assert.True(t, strings.HasPrefix(p.ask("USER user"), "-ERR"))
	assert.Len(t, s.Violations(), 1)
	assert.Equal(t, "+OK begin TLS", p.ask("STLS"))
	conn := tls.Client(p.conn, &tls.Config{RootCAs: s.RootCAs(), ServerName: "localhost", MinVersion: tls.VersionTLS12})
	require.NoError(t, conn.Handshake())
	p = &speaker{t, conn, bufio.NewReader(conn)}
	assert.NotContains(t, p.multi("CAPA"), "STLS")
	p.ask("USER " + User)
	assert.Equal(t, "+OK logged in", p.ask("PASS "+Password))

	p = dial(t, s)
	p.hear()
	p.say("STLS\r\nCAPA")
	assert.Empty(t, p.rest())
	assert.Contains(t, s.Violations(), "bytes between STLS and its reply")
}

func TestLockAndUsers(t *testing.T) {
	s := start(t, WithUser("a", "pa"), WithUser("b", "pb"))
	s.AddMailTo("b", Mail{UIDL: "for-b", Raw: []byte("x\r\n")})
	assert.Panics(t, func() { s.AddMailTo("c", Mail{}) })
	first, second := dial(t, s), dial(t, s)
	first.hear()
	second.hear()
	first.ask("USER a")
	assert.Equal(t, "+OK logged in", first.ask("PASS pa"))
	assert.Equal(t, "+OK 0 0", first.ask("STAT"))
	second.ask("USER a")
	assert.True(t, strings.HasPrefix(second.ask("PASS pa"), "-ERR [IN-USE]"))
	second.ask("USER b")
	assert.Equal(t, "+OK logged in", second.ask("PASS pb"))
	assert.Equal(t, []string{"1 for-b"}, second.multi("UIDL"))
	first.ask("QUIT")
	third := dial(t, s)
	third.hear()
	third.ask("USER a")
	assert.Equal(t, "+OK logged in", third.ask("PASS pa"), "QUIT gives the lock back before its reply")
	assert.Len(t, s.MessagesOf("b"), 1)
	assert.Equal(t, 1, s.LedgerOf("b")[0].Listed)
	assert.Nil(t, s.MessagesOf("c"))
}

func TestViolations(t *testing.T) {
	s := start(t)
	p := dial(t, s)
	p.login()
	p.say("NOOP\r\nNOOP")
	p.hear()
	p.hear()
	_, err := io.WriteString(p.conn, "NOOP\n")
	require.NoError(t, err)
	p.hear()
	assert.True(t, strings.HasPrefix(p.ask("USER again"), "-ERR"))
	p.ask("QUIT")
	v := s.Violations()
	require.Len(t, v, 3)
	assert.Contains(t, v[0], "before the reply")
	assert.Contains(t, v[1], "without CRLF")
	assert.Contains(t, v[2], "untimely")

	s = start(t, WithPipelining())
	p = dial(t, s)
	p.login()
	p.say("NOOP\r\nNOOP")
	p.hear()
	p.hear()
	assert.Empty(t, s.Violations())
}

func TestScript(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    Rule
		line    string
		want    string // all that comes
		removed bool
	}{
		{"reply", Rule{At: StepNoop, Do: Reply("-ERR no")}, "NOOP\r\nQUIT", "-ERR no\r\n+OK bye\r\n", true},
		{"several lines", Rule{At: StepNoop, Do: Reply("+OK\r\n+OK\r\n")}, "NOOP\r\nQUIT", "+OK\r\n+OK\r\n+OK bye\r\n", true},
		{"raw", Rule{At: StepNoop, Do: ReplyThenDrop("\x00+O")}, "NOOP", "\x00+O", false},
		{"drop", Rule{At: StepQuit, Do: Drop()}, "QUIT", "", false},
		{"drop the reply", Rule{At: StepQuit, Do: DropReply()}, "QUIT", "", true},
		{"drop after", Rule{At: StepNoop, Do: DropAfter()}, "NOOP\r\nQUIT", "+OK\r\n", false},
		{"cut", Rule{At: StepQuit, Do: Cut(4)}, "QUIT", "+OK ", true},
		{"drip", Rule{At: StepQuit, Do: Drip(time.Millisecond)}, "QUIT", "+OK bye\r\n", true},
		{"keep", Rule{At: StepQuit, Do: KeepOnQuit()}, "QUIT", "-ERR some deleted messages not removed\r\n", false},
		{"another message", Rule{At: StepRetr, Message: 2, Do: Drop()}, "LIST 1\r\nQUIT", "-ERR no such message\r\n+OK bye\r\n", true},
		{"the second time", Rule{At: StepNoop, Skip: 1, Times: 1, Do: Reply("-ERR")}, "NOOP\r\nNOOP\r\nNOOP\r\nQUIT", "+OK\r\n-ERR\r\n+OK\r\n+OK bye\r\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, WithPipelining())
			s.AddText("a: b\n\nc\n")
			p := dial(t, s)
			p.login()
			require.Equal(t, "+OK marked", p.ask("DELE 1"))
			s.Script(c.rule)
			p.say(c.line)
			assert.Equal(t, c.want, p.rest())
			s.Close()
			assert.Equal(t, c.removed, s.Ledger()[0].Removed)
		})
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	for name, do := range map[string]Action{"at once": Hang(), "after a reply": ReplyThenHang("+OK half")} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			p := dial(t, s)
			p.login()
			s.Script(Rule{At: StepNoop, Do: do})
			p.say("NOOP")
			if name == "after a reply" {
				assert.Equal(t, "+OK half", p.hear())
			}
			s.Close()
			assert.Empty(t, p.rest())
			s.Close()
		})
	}
}

func TestReset(t *testing.T) {
	s := start(t)
	p := dial(t, s)
	p.login()
	s.Script(Rule{At: StepNoop, Do: Reset()})
	p.say("NOOP")
	_, err := p.r.ReadByte()
	require.ErrorContains(t, err, "reset")
}

func TestCutAfter(t *testing.T) {
	s := start(t)
	s.CutAfter(5)
	assert.Equal(t, "+OK p", dial(t, s).rest())
	s.CutAfter(0)
	assert.Empty(t, dial(t, s).rest())
	s.ClearScript()
	dial(t, s).login()
	tr := s.Transcripts()
	require.Len(t, tr, 3)
	assert.Equal(t, "+OK p", string(tr[0].Server))
	assert.Contains(t, string(tr[2].Client), "PASS")
}

func TestMailPeculiarities(t *testing.T) {
	s := start(t)
	s.AddMail(Mail{UIDL: "same", Raw: []byte("a: 1\r\n\r\nx\r\ny\r\nz\r\n"), ListSize: "-7"})
	s.AddMail(Mail{UIDL: "same", Raw: []byte("no newline")})
	s.AddMail(Mail{Open: func() io.Reader { return strings.NewReader("a\n.\nb\r\n.c\r\n") }})
	s.AddMail(Mail{Raw: []byte("a\r\n" + strings.Repeat("x", 64<<10-1) + "\r\n.end\r\n")}) // CR and LF in two pieces
	p := dial(t, s)
	p.login()
	assert.Equal(t, []string{"1 -7", "2 10", "3 11", fmt.Sprintf("4 %d", 3+64<<10-1+8)}, p.multi("LIST"))
	assert.Equal(t, []string{"1 same", "2 same", "3 uidl-000001", "4 uidl-000002"}, p.multi("UIDL"))
	assert.Equal(t, []string{"no newline"}, p.multi("RETR 2"))
	assert.Equal(t, []string{"a\n.\nb", "..c"}, split(p, "RETR 3"))
	assert.Equal(t, "..end", last(p.multi("RETR 4")))
	assert.Equal(t, []string{"a: 1", "", "x"}, p.multi("TOP 1 1"))
	assert.Equal(t, []string{"a: 1", ""}, p.multi("TOP 1 0"))
	assert.True(t, strings.HasPrefix(p.ask("TOP 1"), "-ERR"))
	s.Vanish("same")
	assert.True(t, strings.HasPrefix(p.ask("RETR 1"), "-ERR"))
	assert.True(t, s.Ledger()[1].Vanished)
	assert.Len(t, s.Messages(), 2)
}

// split reads a reply whose lines may hold a bare LF.
func split(p *speaker, line string) []string {
	p.t.Helper()
	p.ask(line)
	var all strings.Builder
	for !strings.HasSuffix(all.String(), "\r\n.\r\n") {
		b, err := p.r.ReadByte()
		require.NoError(p.t, err)
		all.WriteByte(b)
	}
	return strings.Split(strings.TrimSuffix(all.String(), "\r\n.\r\n"), "\r\n")
}

func last(s []string) string { return s[len(s)-1] }

func ExampleServer() {
	s := NewServer()
	defer s.Close()
	s.AddText("Subject: hello\n\nworld\n")
	s.Script(Rule{At: StepQuit, Do: KeepOnQuit()})
	fmt.Println(len(s.Messages()), s.Messages()[0].UIDL)
	// Output: 1 uidl-000001
}
