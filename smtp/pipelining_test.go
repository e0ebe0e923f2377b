package smtp

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

func offer(lines ...string) smtptest.Option { return smtptest.WithExtensions(lines...) }

// TestOneFlight holds the replies back until the whole flight is there: a
// client that waits in between never comes to an end.
func TestOneFlight(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		offer []string
		opts  []driver.Option
		want  string
	}{
		"DATA":     {offer: []string{"PIPELINING"}, want: "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n"},
		"BDAT":     {offer: []string{"PIPELINING", "CHUNKING"}, want: "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nBDAT 106\r\n" + plainText[:106]},
		"disabled": {offer: []string{"PIPELINING", "CHUNKING"}, opts: []driver.Option{WithDisableChunking(true)}, want: "MAIL FROM:<a@example.com>\r\n"},
		"no group": {offer: []string{"CHUNKING"}, want: "MAIL FROM:<a@example.com>\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, d := start(t, []smtptest.Option{offer(tt.offer...), smtptest.WithFault(smtptest.Fault{At: smtptest.MAIL, Do: smtptest.Hang()})}, append(tt.opts, driver.WithTimeout(150*time.Millisecond))...)
			_, err := send(t, d, message(plainText, "b@example.com", "c@example.com"))
			require.Error(t, err)
			_, got, ok := strings.Cut(string(srv.SocketBytes(1)), "EHLO ")
			require.True(t, ok)
			_, got, _ = strings.Cut(got, "\r\n")
			assert.Equal(t, tt.want, got)
		})
	}
	assert.Len(t, plainText, 108, "two octets stay back for the end")
}

// modes are the ways in which a message can go out.
var modes = []struct {
	name  string
	offer []string
	lmtp  bool
}{
	{name: "one by one"},
	{name: "pipelined", offer: []string{"PIPELINING"}},
	{name: "chunks", offer: []string{"CHUNKING"}},
	{name: "pipelined chunks", offer: []string{"PIPELINING", "CHUNKING"}},
	{name: "LMTP", offer: []string{"PIPELINING"}, lmtp: true},
	{name: "LMTP chunks", offer: []string{"PIPELINING", "CHUNKING"}, lmtp: true},
}

func startMode(t *testing.T, i int, fake []smtptest.Option, opts ...driver.Option) (*smtptest.Server, *Driver) {
	m := modes[i]
	fake = append([]smtptest.Option{offer(append([]string{"8BITMIME", "ENHANCEDSTATUSCODES"}, m.offer...)...)}, fake...)
	if m.lmtp {
		fake = append(fake, smtptest.WithLMTP())
		opts = append(opts, WithLMTP())
	}
	return start(t, fake, opts...)
}

// TestModes sends contents of many sizes in each mode.
func TestModes(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 61) + ".\n"
	bodies := map[string]string{
		"empty": "", "one octet": "x", "dot": ".", "dots": ".\r\n..\r\n", "small": plainText,
		"just one chunk": strings.Repeat(line, lastChunk/64), "a bit more": strings.Repeat(line, lastChunk/64) + "y",
		"several": plainText + strings.Repeat(line, 1500), "8 bit": plainText + "\xfc\r\n",
	}
	for i, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			srv, d := startMode(t, i, nil, WithIdleTime(time.Minute))
			bodies := maps.Clone(bodies)
			if strings.Contains(m.name, "chunks") {
				bodies["large chunks"] = strings.Repeat(line, 5*chunkBytes/4/64)
			}
			for name, body := range bodies {
				srv.ClearMessages()
				rec, err := send(t, d, message(body, "b@x.example", "c@x.example"))
				require.NoError(t, err, name)
				agree(t, srv, rec, name)
				assert.Equal(t, reference(body), string(srv.Messages()[0].Data), name)
			}
			assert.Equal(t, 1, srv.Conns(), "one connection for all")
		})
	}
}

// TestF45F46F47Modes repeats the replies of each stage in each mode, with a
// message before and one after on a kept connection.
func TestF45F46F47Modes(t *testing.T) {
	t.Parallel()
	for i, m := range modes {
		for _, at := range []smtptest.Stage{smtptest.MAIL, smtptest.RCPT, smtptest.DATA, smtptest.BDAT, smtptest.Dot} {
			if chunks := strings.Contains(m.name, "chunks"); chunks && at == smtptest.DATA || !chunks && at == smtptest.BDAT {
				continue
			}
			for _, reply := range []string{"450 4.2.1 later", "554 5.7.1 never", "421 4.3.2 leaving"} {
				t.Run(fmt.Sprintf("%s %s %.3s", m.name, at, reply), func(t *testing.T) {
					do := smtptest.Reply(reply)
					if reply[0:3] == "421" {
						do = smtptest.ReplyThenDrop(reply)
					}
					nth := 2
					if at == smtptest.RCPT || m.lmtp && at == smtptest.Dot || at == smtptest.BDAT && len(m.offer) > 1 {
						nth = 3
					}
					srv, d := startMode(t, i, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: at, Conn: 1, Nth: nth, Do: do})}, WithIdleTime(time.Minute))
					body := plainText + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 3*1024) // more than one chunk
					var recs [3]driver.Receipt
					for k := range recs {
						recs[k], _ = send(t, d, message(fmt.Sprintf("X: %d\r\n%s", k, body), "b@x.example", "c@x.example"))
					}
					assert.Equal(t, driver.DeliveryAccepted, recs[0].Delivery)
					assert.Equal(t, driver.DeliveryAccepted, recs[2].Delivery, "the next message is not harmed")
					ledgerAgrees(t, srv, recs[:])
					switch {
					case reply[0] == '5' || reply[2] == '0':
						assert.Equal(t, 1, srv.Conns(), "the connection is kept")
						assert.NotEqual(t, driver.DeliveryAccepted, recs[1].Delivery)
					case at == smtptest.MAIL:
						assert.Equal(t, driver.DeliveryAccepted, recs[1].Delivery, "421 before MAIL on a kept connection: F53, one more dial")
					case at == smtptest.RCPT && strings.Contains(m.name, "chunks"):
						// The reply may be lost to a reset while the chunk is written; then as above.
					default:
						assert.NotEqual(t, driver.DeliveryAccepted, recs[1].Delivery)
					}
				})
			}
		}
	}
}

// ledgerAgrees checks every recipient's result of messages that begin with
// "X: n" against the ledger.
func ledgerAgrees(t *testing.T, srv *smtptest.Server, recs []driver.Receipt) {
	t.Helper()
	taken := map[string]int{}
	promised := map[string]bool{}
	for _, m := range srv.Messages() {
		n, _, _ := bytes.Cut(m.Data, []byte("\r\n"))
		for _, to := range m.To {
			taken[string(n)+to.Address]++
			promised[string(n)+to.Address] = m.Promised
		}
	}
	for k, rec := range recs {
		for _, r := range rec.Recipients {
			key := fmt.Sprintf("X: %d%s", k, r.Address)
			switch r.Delivery {
			case driver.DeliveryAccepted:
				require.Equal(t, 1, taken[key], "message %d to %s reported accepted", k, r.Address)
			case driver.DeliveryUnknown:
				require.LessOrEqual(t, taken[key], 1)
				require.False(t, promised[key], "message %d to %s reported unknown, the promise was written", k, r.Address)
			default:
				require.Zero(t, taken[key], "message %d to %s reported %v, and taken", k, r.Address, r.Delivery)
			}
		}
	}
	require.Empty(t, srv.Violations())
}

// together sends n messages at the same time over one connection, so that each
// envelope goes out behind the content before it.
func together(t *testing.T, d *Driver, n int, body string) []driver.Receipt {
	recs := make([]driver.Receipt, n)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			rec, err := d.Send(ctx, message(fmt.Sprintf("X: %d\r\n%s", k, body), "b@x.example", "c@x.example"))
			recs[k] = rec
			assert.Equal(t, rec.Delivery, driver.DeliveryOf(err))
		})
	}
	wg.Wait()
	return recs
}

// TestBehindContent looks for the envelope of the next message right behind the
// end of the one before, in one segment (RFC 2920 section 3.1).
func TestBehindContent(t *testing.T) {
	t.Parallel()
	for _, i := range []int{1, 3, 4, 5} {
		t.Run(modes[i].name, func(t *testing.T) {
			srv, d := startMode(t, i, nil, WithMaxConnections(1), WithIdleTime(time.Minute))
			recs := together(t, d, 20, plainText)
			for _, rec := range recs {
				assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
			}
			ledgerAgrees(t, srv, recs)
			assert.Equal(t, 1, srv.Conns())
		})
	}
	// The server sees the next envelope although it holds its reply back.
	srv, d := startMode(t, 1, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Conn: 1, Nth: 1, Do: smtptest.Drip(time.Hour, "2")})},
		WithMaxConnections(1), WithDataTimeout(300*time.Millisecond))
	recs := together(t, d, 2, plainText)
	ledgerAgrees(t, srv, recs)
	_, behind, ok := bytes.Cut(srv.SocketBytes(1), []byte("\r\n.\r\n"))
	if ok && len(behind) > 0 { // whether the other was in the queue by then is the scheduler's
		assert.Equal(t, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\nDATA\r\n", string(behind))
	}
}

// TestRefusedChunks has the server refuse at its end a message that came in
// chunks, and then, as Postfix does, every MAIL before RSET.
func TestRefusedChunks(t *testing.T) {
	t.Parallel()
	for range 5 {
		srv, d := start(t, []smtptest.Option{
			offer("PIPELINING", "CHUNKING", "ENHANCEDSTATUSCODES"), smtptest.WithStickyChunks(),
			smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Conn: 1, Nth: 2, Do: smtptest.Reply("554 5.7.1 spam")}),
		}, WithMaxConnections(1), WithIdleTime(time.Minute))
		recs := together(t, d, 6, plainText)
		ledgerAgrees(t, srv, recs)
		n := 0
		for _, r := range recs {
			if r.Delivery == driver.DeliveryAccepted {
				n++
			}
		}
		assert.Equal(t, 5, n, "one was refused, and no other for its sake")
	}
}

// TestCutModes cuts conversations of three messages on one connection at each
// byte, in either direction and in each mode: what the senders report and what
// the ledger holds must never contradict each other.
func TestCutModes(t *testing.T) {
	t.Parallel()
	for i, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			srv, d := startMode(t, i, nil, WithMaxConnections(1), driver.WithTimeout(10*time.Second))
			const body = "\r\n.dot\r\n"
			recs := together(t, d, 3, body)
			ledgerAgrees(t, srv, recs)
			fromServer, fromClient := len(srv.ServerBytes(1)), len(srv.ClientBytes(1))
			seen := map[driver.Delivery]int{}
			try := func() {
				srv.ClearMessages()
				recs := together(t, d, 3, body)
				ledgerAgrees(t, srv, recs)
				for _, r := range recs {
					seen[r.Delivery]++
				}
			}
			step := 1
			if testing.Short() {
				step = 7
			}
			for n := 0; n <= fromServer; n += step {
				srv.CutWrite(n)
				try()
			}
			srv.CutWrite(-1)
			for n := 0; n <= fromClient; n += step {
				srv.CutRead(n)
				try()
			}
			assert.Zero(t, seen[driver.DeliveryRejected])
			assert.Positive(t, seen[driver.DeliveryUnknown])
			assert.Positive(t, seen[driver.DeliveryDeferred])
			assert.Positive(t, seen[driver.DeliveryAccepted])
		})
	}
}
