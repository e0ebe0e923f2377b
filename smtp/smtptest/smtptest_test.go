package smtptest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/smtp/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talk says lines one by one, each after the reply to the one before, and
// returns what the server said until it stopped.
func talk(t *testing.T, srv *smtptest.Server, lines ...string) string {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Addr())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(10*time.Second)))
	r := bufio.NewReader(nc)
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			return all.String()
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if len(lines) == 0 {
			return all.String()
		}
		if _, err := io.WriteString(nc, lines[0]); err != nil {
			return all.String()
		}
		lines = lines[1:]
	}
}

var mail = []string{"EHLO x\r\n", "MAIL FROM:<a@x>\r\n", "RCPT TO:<b@x>\r\n", "DATA\r\n", "..hello\r\n.\r\n", "QUIT\r\n"}

func TestLedger(t *testing.T) {
	tests := []struct {
		name            string
		at              smtptest.Stage
		do              smtptest.Action
		taken, promised bool
		says            string
	}{
		{name: "usual", taken: true, promised: true, says: "221 "},
		{name: "accepted and dropped", at: smtptest.Dot, do: smtptest.AcceptThenDrop(), taken: true, says: "354 "},
		{name: "dropped", at: smtptest.Dot, do: smtptest.Drop(), says: "354 "},
		{name: "reset", at: smtptest.Dot, do: smtptest.Reset(), says: "354 "},
		{name: "dropped afterwards", at: smtptest.Dot, do: smtptest.DropAfter(), taken: true, promised: true, says: "250 2.0.0"},
		{name: "refused", at: smtptest.Dot, do: smtptest.Reply("554 no"), says: "554 no"},
		{name: "another acceptance", at: smtptest.Dot, do: smtptest.Reply("251 fine"), taken: true, promised: true, says: "251 fine"},
		{name: "garbage", at: smtptest.Dot, do: smtptest.Raw("?\r\n"), says: "?"},
		{name: "refused recipient", at: smtptest.RCPT, do: smtptest.Reply("550 no"), says: "503 "},
		{name: "before", at: smtptest.Dot, do: smtptest.Before("x\r\n"), taken: true, promised: true, says: "x\r\n250 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := smtptest.NewServer()
			defer srv.Close()
			if tt.at != "" {
				srv.AddFault(smtptest.Fault{At: tt.at, Do: tt.do})
			}
			assert.Contains(t, talk(t, srv, mail...), tt.says)
			srv.Close()
			ledger := srv.Messages()
			if !tt.taken {
				assert.Empty(t, ledger)
				return
			}
			require.Len(t, ledger, 1)
			assert.Equal(t, tt.promised, ledger[0].Promised)
			assert.Equal(t, ".hello\r\n", string(ledger[0].Data))
			assert.Equal(t, "..hello\r\n.\r\n", string(ledger[0].Wire))
		})
	}
}

func TestCuts(t *testing.T) {
	srv := smtptest.NewServer()
	defer srv.Close()
	whole := talk(t, srv, mail...)
	for _, n := range []int{0, 1, 20, len(whole) - 1} {
		srv.CutWrite(n)
		assert.Equal(t, whole[:n], talk(t, srv, mail...))
	}
	srv.ClearFaults()
	srv.CutRead(12)
	assert.NotContains(t, talk(t, srv, mail...), "2.1.0")
	assert.Equal(t, "EHLO x\r\nMAIL", string(srv.ClientBytes(srv.Conns())))
	assert.Equal(t, 6, srv.Conns())
}

func TestCloseEndsHanging(t *testing.T) {
	for name, do := range map[string]smtptest.Action{"hang": smtptest.Hang(), "drip": smtptest.Drip(time.Hour, "x")} {
		t.Run(name, func(t *testing.T) {
			srv := smtptest.NewServer(smtptest.WithFault(smtptest.Fault{At: smtptest.Greeting, Do: do}))
			nc, err := net.Dial("tcp", srv.Addr())
			require.NoError(t, err)
			defer nc.Close()
			require.Eventually(t, func() bool { return srv.Conns() == 1 }, 10*time.Second, time.Millisecond)
			srv.Close()
			_, err = nc.Read(make([]byte, 1))
			require.Error(t, err)
		})
	}
}

func ExampleServer() {
	srv := smtptest.NewServer()
	defer srv.Close()
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	for _, line := range []string{"HELO me", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA", "Hello.\r\n.", "QUIT"} {
		reply, _ := r.ReadString('\n')
		fmt.Println(strings.TrimSpace(reply))
		_, _ = io.WriteString(nc, line+"\r\n")
	}
	m := srv.Messages()[0]
	fmt.Printf("%s -> %s: %q\n", m.From, m.To[0].Address, m.Data)
	// Output:
	// 220 smtptest.example ESMTP smtptest
	// 250 smtptest.example
	// 250 2.1.0 sender ok
	// 250 2.1.5 recipient ok
	// 354 go ahead
	// 250 2.0.0 taken
	// a@example.com -> b@example.com: "Hello.\r\n"
}
