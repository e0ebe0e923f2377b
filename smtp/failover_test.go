package smtp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// startPair makes a driver with two fake servers.
func startPair(t *testing.T, first, second []smtptest.Option, opts ...driver.Option) (a, b *smtptest.Server, d *Driver) {
	t.Helper()
	b = smtptest.NewServer(second...)
	t.Cleanup(b.Close)
	a, d = start(t, first, append([]driver.Option{WithBackup(b.Addr())}, opts...)...)
	return a, b, d
}

// TestF54Failover tells for each failure of the first server whether the second
// is used: only where nothing can have been accepted (parameters.md 1.2).
func TestF54Failover(t *testing.T) {
	t.Parallel()
	at := func(s smtptest.Stage, do smtptest.Action) []smtptest.Option {
		return []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: s, Do: do})}
	}
	both := func(do smtptest.Action) []smtptest.Option {
		return append(at(smtptest.EHLO, do), at(smtptest.HELO, do)...)
	}
	login := []driver.Option{driver.WithLogin("u", "p"), driver.WithInsecureAuth()}
	auth := func(do smtptest.Action) []smtptest.Option {
		return append(at(smtptest.AUTH, do), smtptest.WithLogin("u", "p"), smtptest.WithMechanisms("PLAIN"))
	}
	short := driver.WithTimeout(150 * time.Millisecond)
	tests := []struct {
		name  string
		first []smtptest.Option
		opts  []driver.Option
		over  bool
		want  driver.Delivery // if not over
	}{
		{name: "works", want: driver.DeliveryAccepted},
		{name: "greeting 421", first: at(smtptest.Greeting, smtptest.ReplyThenDrop("421 4.3.2 full")), over: true},
		{name: "F46 greeting 554", first: at(smtptest.Greeting, smtptest.Reply("554 5.7.1 not you")), over: true},
		{name: "greeting garbage", first: at(smtptest.Greeting, smtptest.Raw("SSH-2.0\r\n")), over: true},
		{name: "F02 greeting silence", first: at(smtptest.Greeting, smtptest.Hang()), opts: []driver.Option{short}, over: true},
		{name: "EHLO and HELO 550", first: both(smtptest.Reply("550 5.7.1 no")), over: true},
		{name: "EHLO lost", first: at(smtptest.EHLO, smtptest.Drop()), over: true},
		{name: "AUTH 454", first: auth(smtptest.Reply("454 4.7.0 later")), opts: login, over: true},
		{name: "AUTH lost", first: auth(smtptest.Drop()), opts: login, over: true},
		{name: "AUTH 535", first: auth(smtptest.Reply("535 5.7.8 no")), opts: login, want: driver.DeliveryDeferred},
		{name: "AUTH 535, asked for", first: auth(smtptest.Reply("535 5.7.8 no")), opts: append(login, WithAuthFailover(true)), over: true},
		{name: "no mechanism", opts: login, want: driver.DeliveryDeferred},
		{name: "MAIL 421", first: at(smtptest.MAIL, smtptest.ReplyThenDrop("421 4.3.2 leaving")), over: true},
		{name: "MAIL lost", first: at(smtptest.MAIL, smtptest.Drop()), over: true},
		{name: "MAIL silence", first: at(smtptest.MAIL, smtptest.Hang()), opts: []driver.Option{short}, over: true},
		{name: "MAIL 451", first: at(smtptest.MAIL, smtptest.Reply("451 4.3.0 later")), want: driver.DeliveryDeferred},
		{name: "MAIL 550", first: at(smtptest.MAIL, smtptest.Reply("550 5.1.8 no")), want: driver.DeliveryRejected},
		{name: "RCPT 450", first: at(smtptest.RCPT, smtptest.Reply("450 4.2.1 later")), want: driver.DeliveryDeferred},
		{name: "RCPT 550", first: at(smtptest.RCPT, smtptest.Reply("550 5.1.1 no")), want: driver.DeliveryRejected},
		{name: "RCPT 421", first: at(smtptest.RCPT, smtptest.ReplyThenDrop("421 4.3.2 leaving")), want: driver.DeliveryDeferred},
		{name: "F51 RCPT lost", first: at(smtptest.RCPT, smtptest.Drop()), over: true},
		{name: "RCPT silence", first: at(smtptest.RCPT, smtptest.Hang()), opts: []driver.Option{short}, want: driver.DeliveryDeferred},
		{name: "F51 DATA lost", first: at(smtptest.DATA, smtptest.Drop()), over: true},
		{name: "DATA 451", first: at(smtptest.DATA, smtptest.Reply("451 4.3.0 later")), want: driver.DeliveryDeferred},
		{name: "dot 451", first: at(smtptest.Dot, smtptest.Reply("451 4.3.0 later")), want: driver.DeliveryDeferred},
		{name: "dot 554", first: at(smtptest.Dot, smtptest.Reply("554 5.7.1 spam")), want: driver.DeliveryRejected},
		{name: "F49 dot lost", first: at(smtptest.Dot, smtptest.AcceptThenDrop()), want: driver.DeliveryUnknown},
	}
	for _, tt := range tests {
		for _, offered := range [][]string{nil, {"PIPELINING"}} {
			t.Run(tt.name+strings.Join(offered, ""), func(t *testing.T) {
				a, b, d := startPair(t, append([]smtptest.Option{offer(append(offered, "ENHANCEDSTATUSCODES")...)}, tt.first...), nil, tt.opts...)
				rec, err := send(t, d, message(plainText))
				if tt.over {
					require.NoError(t, err)
					assert.Equal(t, b.Addr(), rec.Server)
					assert.Empty(t, a.Messages())
					agree(t, b, rec, tt.name)
					assert.Empty(t, b.Messages()[0].User, "the first server's login stays there")

					_, err = send(t, d, message(plainText))
					require.NoError(t, err)
					assert.Len(t, b.Messages(), 2, "stays on the backup")
					assert.Equal(t, 1, a.Conns())
					return
				}
				assert.Equal(t, tt.want, rec.Delivery)
				assert.Equal(t, a.Addr(), rec.Server)
				assert.Zero(t, b.Conns(), "never asked")
				agree(t, a, rec, tt.name)
			})
		}
	}
}

func TestF54BothDown(t *testing.T) {
	down := []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Greeting, Do: smtptest.Reply("554 5.3.2 closed")})}
	var out bytes.Buffer
	a, b, d := startPair(t, down, down, driver.WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	require.ErrorContains(t, err, a.Addr()+" greeting: the server says 554 5.3.2")
	require.ErrorContains(t, err, b.Addr()+" greeting: the server says 554 5.3.2")
	var fe *failoverError
	require.ErrorAs(t, err, &fe)
	assert.Len(t, fe.Unwrap(), 2)
	assert.Less(t, strings.Index(err.Error(), a.Addr()+" greeting"), strings.Index(err.Error(), b.Addr()+" greeting"), "in the order of the tries")
	assert.Contains(t, out.String(), "a server could not be used")
	assert.NotEqual(t, driver.KindAmbiguous, driver.KindOf(err))
}

// TestF54BothRefuseSessions has two servers say 554 in place of a greeting. That
// is no verdict on the message: it is deferred, and its error says the same.
func TestF54BothRefuseSessions(t *testing.T) {
	down := []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Greeting, Do: smtptest.ReplyThenDrop("554 go away")})}
	_, _, d := startPair(t, down, down)
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.True(t, driver.KindOf(err).Retryable())
	for kind, want := range map[driver.Kind]driver.Kind{
		driver.KindPermanent: driver.KindTemporary, driver.KindPolicy: driver.KindPolicy, driver.KindAuth: driver.KindAuth,
	} {
		assert.Equal(t, want, (&failoverError{[]*driver.Error{{Kind: kind}, {Kind: kind}}}).kind())
	}
}

func TestF54RefusedStayRefused(t *testing.T) {
	// The first server refuses one for good and is lost: the second hears of
	// the other alone.
	a, b, d := startPair(t, []smtptest.Option{
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("550 5.1.1 no")}),
		smtptest.WithFault(smtptest.Fault{At: smtptest.DATA, Do: smtptest.Drop()}),
	}, nil)
	rec, _ := send(t, d, message(plainText, "a@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
	assert.Equal(t, driver.DeliveryRejected, rec.Recipients[0].Delivery)
	assert.Equal(t, driver.DeliveryAccepted, rec.Recipients[1].Delivery)
	require.Len(t, b.Messages(), 1)
	assert.Equal(t, []smtptest.Recipient{{Address: "b@x.example", Params: nil}}, clean(b.Messages()[0].To))
	assert.Empty(t, a.Messages())
}

// TestF54BackupLacks has messages that the backup server cannot carry: they wait
// for the first server, or go there at once if it is back.
func TestF54BackupLacks(t *testing.T) {
	t.Parallel()
	all := offer("8BITMIME", "SMTPUTF8", "SIZE 1000000", "REQUIRETLS", "DELIVERBY", "MT-PRIORITY")
	for name, tt := range map[string]struct {
		set    func(m *driver.Message)
		second smtptest.Option
		want   string
	}{
		"SMTPUTF8":    {func(m *driver.Message) { m.To[0].Address = "δοκιμή@example.com" }, offer("8BITMIME"), "needs the extension SMTPUTF8"},
		"SIZE":        {func(m *driver.Message) { m.Open = message(plainText + strings.Repeat("x\r\n", 500)).Open }, offer("SIZE 200"), "the server takes 200"},
		"DELIVERBY":   {func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Within: time.Minute} }, offer("SIZE"), "needs the extension DELIVERBY"},
		"time limit":  {func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Within: time.Minute, Return: true} }, offer("DELIVERBY 100"), "less than the 100 seconds"},
		"MT-PRIORITY": {func(m *driver.Message) { m.Priority = 3 }, offer("SIZE"), "needs the extension MT-PRIORITY"},
	} {
		t.Run(name, func(t *testing.T) {
			m := message(plainText)
			tt.set(m)
			down := smtptest.WithFault(smtptest.Fault{At: smtptest.Greeting, Conn: 1, Do: smtptest.Drop()})
			a, b, d := startPair(t, []smtptest.Option{all, down}, []smtptest.Option{tt.second}, WithBackupPeriod(time.Hour))
			rec, err := send(t, d, m)
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "the first server is down, and may have it")
			require.ErrorContains(t, err, a.Addr()+" greeting: ")
			require.ErrorContains(t, err, b.Addr())
			require.ErrorContains(t, err, tt.want)
			assert.Empty(t, b.Messages())

			_, err = send(t, d, message(plainText))
			require.NoError(t, err)
			assert.Len(t, b.Messages(), 1, "others go through the backup server")

			rec, err = send(t, d, m)
			require.NoError(t, err, "the first server is back, and asked as the backup cannot")
			assert.Equal(t, a.Addr(), rec.Server)
			assert.Len(t, a.Messages(), 1)
			assert.Empty(t, append(a.Violations(), b.Violations()...))
		})
	}
	// Neither can: that is a verdict of the first server.
	m := message(plainText)
	m.Priority = 3
	_, _, d := startPair(t, nil, nil)
	rec, err := send(t, d, m)
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func clean(list []smtptest.Recipient) []smtptest.Recipient {
	for i := range list {
		if len(list[i].Params) == 0 {
			list[i].Params = nil
		}
	}
	return list
}

func TestFailBack(t *testing.T) {
	t.Parallel()
	const period = 300 * time.Millisecond
	a, b, d := startPair(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Greeting, Conn: 1, Do: smtptest.Drop()})}, nil, WithBackupPeriod(period))
	begin := time.Now()
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	assert.Len(t, b.Messages(), 1)
	require.Eventually(t, func() bool {
		_, err := send(t, d, message(plainText))
		return err == nil && len(a.Messages()) > 0
	}, 10*time.Second, 20*time.Millisecond)
	assert.GreaterOrEqual(t, time.Since(begin), period)
	n := len(b.Messages())
	_, err = send(t, d, message(plainText))
	require.NoError(t, err)
	assert.Len(t, b.Messages(), n, "back for good")
}

func TestBackupConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		opts []driver.Option
		want string
	}{
		"weaker TLS":      {[]driver.Option{explicit(), WithBackup("b.example", driver.WithSecurity(driver.SecurityNone))}, "no TLS"},
		"unchecked TLS":   {[]driver.Option{explicit(), WithBackup("b.example", driver.WithInsecureSkipVerify())}, "no check of the certificate"},
		"clear password":  {[]driver.Option{WithBackup("b.example", driver.WithInsecureAuth(), driver.WithLogin("u", "p"))}, "a password in clear"},
		"address":         {[]driver.Option{WithBackup("b example")}, "smtp.Backup"},
		"option":          {[]driver.Option{WithBackup("b.example", WithSaveSent(true))}, "smtp.SaveSent"},
		"period":          {[]driver.Option{WithBackupPeriod(0)}, "not positive"},
		"LMTP needs port": {[]driver.Option{WithLMTP()}, "port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New("a.example", tt.opts...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		})
	}
	d, err := New("a.example", explicit(), driver.WithLogin("u", "secret"), driver.WithServerName("x"), WithBackup("b.example:2525", driver.WithLogin("v", "w")))
	require.NoError(t, err)
	assert.Equal(t, "b.example:2525", d.backup.addr)
	assert.Equal(t, driver.SecurityExplicit, d.backup.net.Security, "as the first")
	assert.Equal(t, "v", d.backup.net.User)
	assert.Empty(t, d.backup.net.ServerName)
	require.NoError(t, d.Close())
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &health{period: time.Minute}
		step := func(backup, probe bool) {
			t.Helper()
			gotBackup, gotProbe := h.begin()
			assert.Equal(t, backup, gotBackup, "backup")
			assert.Equal(t, probe, gotProbe, "probe")
		}
		step(false, false)
		_, left := h.bad(false)
		assert.True(t, left)
		_, left = h.bad(false) // one that had begun before
		assert.False(t, left)
		assert.False(t, h.good(false), "and one that ended well")
		step(true, false)
		time.Sleep(59 * time.Second)
		step(true, false)
		time.Sleep(time.Second)
		step(false, true)
		step(true, false) // one probe at a time
		h.none(true)
		step(false, true)
		h.bad(true)
		step(true, false)
		time.Sleep(time.Minute)
		step(false, true)
		assert.True(t, h.good(true))
		step(false, false)
		// It flaps: left alone for twice as long.
		time.Sleep(10 * time.Second)
		until, _ := h.bad(false)
		assert.Equal(t, 2*time.Minute, time.Until(until))
		for range 5 {
			time.Sleep(time.Until(h.until))
			step(false, true)
			h.good(true)
			h.bad(false)
		}
		assert.Equal(t, maxPeriods*time.Minute, time.Until(h.until))
		// It held: as at first.
		time.Sleep(time.Until(h.until))
		step(false, true)
		h.good(true)
		time.Sleep(time.Minute)
		until, _ = h.bad(false)
		assert.Equal(t, time.Minute, time.Until(until))
	})
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(3, 10, time.Minute)
		begin := time.Now()
		var at []time.Duration
		for _, to := range []int{1, 1, 1, 1, 9, 50, 1} {
			require.NoError(t, l.wait(t.Context(), to))
			at = append(at, time.Since(begin))
		}
		assert.Equal(t, []time.Duration{0, 0, 0, time.Minute, time.Minute, 2 * time.Minute, 3 * time.Minute}, at)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.wait(ctx, 50), context.DeadlineExceeded)
		gone, end := context.WithCancelCause(t.Context())
		end(errors.New("gone"))
		require.ErrorContains(t, l.wait(gone, 50), "gone")
	})
	_, d := start(t, nil, WithRateLimit(1, 0, time.Hour))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	rec, err := d.Send(ctx, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
