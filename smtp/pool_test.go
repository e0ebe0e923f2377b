package smtp

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

func TestF53Stale(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]smtptest.Action{
		"closed":                smtptest.DropAfter(),
		"421 unasked":           smtptest.After("421 4.4.2 idle for too long\r\n"),
		"reset on the next":     smtptest.After(""),
		"451 timeout on reuse":  smtptest.After(""),
		"421 on reuse":          smtptest.After(""),
		"garbage after the end": smtptest.After("what?\r\n"),
	} {
		for _, offered := range []string{"8BITMIME", "PIPELINING"} {
			t.Run(name+" "+offered, func(t *testing.T) {
				fake := []smtptest.Option{offer(offered, "ENHANCEDSTATUSCODES"), smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Conn: 1, Do: do})}
				second := map[string]smtptest.Action{
					"reset on the next": smtptest.Reset(), "451 timeout on reuse": smtptest.ReplyThenDrop("451 4.4.2 timeout waiting for data"),
					"421 on reuse": smtptest.ReplyThenDrop("421 4.4.2 timeout"),
				}
				if a, ok := second[name]; ok {
					fake = append(fake, smtptest.WithFault(smtptest.Fault{At: smtptest.MAIL, Conn: 1, Nth: 2, Do: a}))
				}
				srv, d := start(t, fake, WithIdleTime(time.Minute))
				for range 2 {
					_, err := send(t, d, message(plainText))
					require.NoError(t, err)
				}
				assert.Equal(t, 2, srv.Conns(), "one more dial")
				assert.Len(t, srv.Messages(), 2, "and no double")
			})
		}
	}
	// A new connection that fails is not replaced.
	srv, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.MAIL, Do: smtptest.Reset()})}, WithIdleTime(time.Minute))
	_, err := send(t, d, message(plainText))
	require.Error(t, err)
	assert.Equal(t, 1, srv.Conns())
}

func TestPoolLimits(t *testing.T) {
	t.Parallel()
	srv, d := start(t, []smtptest.Option{offer("PIPELINING")}, WithIdleTime(time.Minute), WithMaxAge(0, 2))
	for range 5 {
		_, err := send(t, d, message(plainText))
		require.NoError(t, err)
	}
	assert.Equal(t, 3, srv.Conns(), "two messages each")
	cmds := srv.Commands(1)
	assert.Equal(t, "QUIT", cmds[len(cmds)-1], "left in good order")

	srv, d = start(t, []smtptest.Option{offer("PIPELINING", "LIMITS MAILMAX=1 BOGUS=x RCPTMAX=0")}, WithIdleTime(time.Minute))
	for range 2 {
		_, err := send(t, d, message(plainText))
		require.NoError(t, err)
	}
	assert.Equal(t, 2, srv.Conns(), "the server's limit")

	srv, d = start(t, nil, WithIdleTime(time.Minute), WithMaxAge(time.Nanosecond, 0))
	for range 2 {
		_, err := send(t, d, message(plainText))
		require.NoError(t, err)
	}
	assert.Equal(t, 2, srv.Conns(), "too old")

	srv, d = start(t, nil, WithIdleTime(20*time.Millisecond))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	require.Eventually(t, func() bool { c := srv.Commands(1); return c[len(c)-1] == "QUIT" }, 5*time.Second, 5*time.Millisecond, "closed when idle")

	srv, d = start(t, nil, WithIdleTime(time.Minute), WithMaxConnections(3))
	ledgerAgrees(t, srv, together(t, d, 30, plainText))
	assert.LessOrEqual(t, srv.Conns(), 3)
}

func TestProbe(t *testing.T) {
	srv, d := start(t, nil, WithIdleTime(time.Hour))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	for _, s := range d.primary.pool.kept {
		s.since = s.since.Add(-2 * probeAfter)
	}
	_, err = send(t, d, message(plainText))
	require.NoError(t, err)
	assert.Contains(t, srv.Commands(1), "RSET")
	for _, s := range d.primary.pool.kept {
		s.since = s.since.Add(-2 * probeAfter)
	}
	srv.AddFault(smtptest.Fault{At: smtptest.RSET, Do: smtptest.ReplyThenDrop("421 4.4.2 timeout")})
	_, err = send(t, d, message(plainText))
	require.NoError(t, err)
	assert.Equal(t, 2, srv.Conns())
	assert.Len(t, srv.Messages(), 3)
}

// TestGoneWhileTaken ends the context of a Send whose envelope went out behind
// the content of another: the other must not suffer.
func TestGoneWhileTaken(t *testing.T) {
	t.Parallel()
	for range 10 {
		srv, d := start(t, []smtptest.Option{
			offer("PIPELINING"),
			smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Conn: 1, Nth: 1, Do: smtptest.Late(50 * time.Millisecond)}),
		}, WithMaxConnections(1))
		first, second := make(chan driver.Receipt, 1), make(chan driver.Receipt, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			rec, _ := d.Send(t.Context(), message("X: 0\r\n"+strings.Repeat("x\r\n", 20000)))
			first <- rec
		}()
		require.Eventually(t, func() bool { return srv.Conns() == 1 }, time.Second, 100*time.Microsecond)
		go func() {
			rec, _ := d.Send(ctx, message("X: 1\r\n"))
			second <- rec
		}()
		require.Eventually(t, func() bool { return len(srv.Messages()) == 1 }, 5*time.Second, time.Millisecond, "the first is taken, and its reply on the way")
		cancel()
		recs := []driver.Receipt{<-first, <-second}
		assert.Equal(t, driver.DeliveryAccepted, recs[0].Delivery)
		assert.Equal(t, driver.DeliveryDeferred, recs[1].Delivery)
		ledgerAgrees(t, srv, recs)
	}
}

func TestCloseWithIdle(t *testing.T) {
	srv, d := start(t, nil, WithIdleTime(time.Hour))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	require.NoError(t, d.Close())
	cmds := srv.Commands(1)
	assert.Equal(t, "QUIT", cmds[len(cmds)-1])
	_, err = send(t, d, message(plainText))
	require.ErrorIs(t, err, driver.ErrClosed)
}

func TestSplitRecipients(t *testing.T) {
	t.Parallel()
	var to []string
	for i := range 25 {
		to = append(to, "u"+itoa(i)+"@d"+itoa(i/5)+".example")
	}
	for name, tt := range map[string]struct {
		offer []string
		fault *smtptest.Fault
		opts  []driver.Option
		want  []int
	}{
		"one":           {want: []int{25}},
		"option":        {opts: []driver.Option{WithMaxRecipients(10)}, want: []int{10, 10, 5}},
		"RCPTMAX":       {offer: []string{"LIMITS RCPTMAX=20"}, want: []int{20, 5}},
		"RCPTDOMAINMAX": {offer: []string{"LIMITS RCPTDOMAINMAX=2"}, want: []int{10, 10, 5}},
		"452 4.5.3":     {fault: &smtptest.Fault{At: smtptest.RCPT, Nth: 25, Do: smtptest.Reply("452 4.5.3 too many")}, want: []int{24, 1}},
	} {
		for _, offered := range []string{"8BITMIME", "PIPELINING"} {
			t.Run(name+" "+offered, func(t *testing.T) {
				srv, d := start(t, []smtptest.Option{offer(append(tt.offer, offered, "ENHANCEDSTATUSCODES")...)}, append(tt.opts, WithIdleTime(time.Minute))...)
				if tt.fault != nil {
					srv.AddFault(*tt.fault)
				}
				rec, err := send(t, d, message(plainText, to...))
				require.NoError(t, err)
				assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
				var got []int
				for _, m := range srv.Messages() {
					got = append(got, len(m.To))
				}
				assert.Equal(t, tt.want, got)
				assert.Equal(t, 1, srv.Conns())
				assert.Empty(t, srv.Violations())
			})
		}
	}
}

// TestTooManyRecipients has the third recipient refused. Where that may be for
// the number of those before it, it is for the next transaction (RFC 5321
// section 4.5.3.1.10).
func TestTooManyRecipients(t *testing.T) {
	t.Parallel()
	const next, deferred, rejected = driver.DeliveryAccepted, driver.DeliveryDeferred, driver.DeliveryRejected
	for reply, want := range map[string]driver.Delivery{
		"452 too many":       next,
		"452 4.5.3 too many": next,
		"452 5.5.3 too many": next,
		"552 5.5.3 too many": next,
		"552 4.5.3 too many": next,
		"552 too many":       deferred,
		"452 4.2.2 full":     deferred,
		"452 4.3.1 no space": deferred,
		"450 4.5.3 later":    deferred,
		"552 5.2.2 full":     rejected,
		"552 5.3.4 too big":  rejected,
		"550 5.5.3 no":       rejected,
	} {
		for _, offered := range [][]string{{}, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
			t.Run(reply+" "+strings.Join(offered, " "), func(t *testing.T) {
				srv, d := start(t, []smtptest.Option{
					offer(append(offered, "ENHANCEDSTATUSCODES")...),
					smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 3, Do: smtptest.Reply(reply)}),
				}, WithIdleTime(time.Minute))
				rec, err := send(t, d, message(plainText, "a@x.example", "b@x.example", "c@x.example"))
				assert.Equal(t, want, rec.Recipients[2].Delivery)
				assert.Equal(t, driver.DeliveryAccepted, rec.Recipients[0].Delivery)
				if want == next {
					require.NoError(t, err)
					require.Len(t, srv.Messages(), 2)
					assert.Equal(t, "c@x.example", srv.Messages()[1].To[0].Address)
					return
				}
				require.Error(t, err)
				assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
				assert.Equal(t, itoa(rec.Recipients[2].Code), reply[:3])
				assert.Len(t, srv.Messages(), 1)
			})
		}
	}
	// With none accepted it cannot be for their number, and would never end.
	for reply, want := range map[string]driver.Delivery{"452 too many": deferred, "452 4.5.3 too many": deferred, "552 full": rejected, "552 5.5.3 too many": rejected} {
		srv, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Do: smtptest.Reply(reply)})})
		rec, err := send(t, d, message(plainText, "a@x.example", "b@x.example"))
		require.Error(t, err)
		assert.Equal(t, want, rec.Delivery, reply)
		assert.Equal(t, 1, srv.Conns())
	}
}
