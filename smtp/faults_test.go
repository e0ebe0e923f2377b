package smtp

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// agree checks that the ledger and what the sender reported are no
// contradiction.
func agree(t *testing.T, srv *smtptest.Server, rec driver.Receipt, why string) {
	t.Helper()
	ledger := srv.Messages()
	require.LessOrEqual(t, len(ledger), 1, "%s: taken twice", why)
	accepted := map[string]bool{}
	promised := false
	for _, m := range ledger {
		promised = m.Promised
		for _, r := range m.To {
			accepted[r.Address] = true
		}
	}
	for _, r := range rec.Recipients {
		switch r.Delivery {
		case driver.DeliveryAccepted:
			require.True(t, accepted[r.Address], "%s: %s reported accepted, and lost", why, r.Address)
		case driver.DeliveryUnknown:
			require.False(t, promised, "%s: %s reported unknown, the promise was written", why, r.Address)
		default:
			require.False(t, accepted[r.Address], "%s: %s reported %v, and taken: a retry would double it", why, r.Address, r.Delivery)
		}
	}
	require.Empty(t, srv.Violations(), why)
}

func TestF01F02Connect(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closedAddr := l.Addr().String()
	require.NoError(t, l.Close())
	d, err := New(closedAddr)
	require.NoError(t, err)
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Empty(t, rec.Server, "none was reached")
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.ErrorContains(t, err, "SMTP "+closedAddr+" dial: deferred: ")

	// A black hole: connects, and never greets.
	srv := smtptest.NewUnstartedServer()
	defer srv.Close()
	d = connect(t, srv, driver.WithTimeout(50*time.Millisecond))
	rec, err = send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	require.ErrorContains(t, err, "greeting: deferred: no answer within")
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

var stages = []struct {
	at   smtptest.Stage
	name string
}{
	{smtptest.Greeting, StageGreeting},
	{smtptest.EHLO, StageEHLO},
	{smtptest.MAIL, StageMAIL},
	{smtptest.RCPT, StageRCPT},
	{smtptest.DATA, StageDATA},
	{smtptest.Dot, StageDot},
}

func TestF45F46F47Replies(t *testing.T) {
	for _, stage := range stages {
		for _, tt := range []struct {
			reply    string
			delivery driver.Delivery
			kind     driver.Kind
			drop     bool
		}{
			{"450 4.2.1 try later", driver.DeliveryDeferred, driver.KindTemporary, false},
			{"554 5.7.1 never", driver.DeliveryRejected, driver.KindPermanent, false},
			{"421 4.3.2 shutting down", driver.DeliveryDeferred, driver.KindTemporary, true},
		} {
			t.Run(stage.name+" "+tt.reply[:3], func(t *testing.T) {
				do := smtptest.Reply(tt.reply)
				if tt.drop {
					do = smtptest.ReplyThenDrop(tt.reply)
				}
				srv, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: stage.at, Do: do})})
				if stage.at == smtptest.EHLO && tt.reply[0] == '5' {
					srv.AddFault(smtptest.Fault{At: smtptest.HELO, Do: do})
				}
				rec, err := send(t, d, message(plainText))
				require.Error(t, err)
				assert.Equal(t, tt.delivery, rec.Delivery)
				assert.Equal(t, tt.kind, driver.KindOf(err))
				var re *ReplyError
				require.ErrorAs(t, err, &re)
				want := stage.name
				if want == StageEHLO && tt.reply[0] == '5' {
					want = StageHELO
				}
				assert.Equal(t, want, re.Stage)
				assert.Equal(t, tt.reply[:3], err.Error()[strings.Index(err.Error(), "says ")+5:][:3])
				assert.Equal(t, tt.reply[4:9], rec.Enhanced)
				assert.Equal(t, tt.reply[10:], rec.Text)
				assert.Equal(t, rec.Code, rec.Recipients[0].Code)
				assert.Equal(t, srv.Addr(), rec.Server)
				var de *driver.Error
				require.ErrorAs(t, err, &de)
				assert.Equal(t, want, de.Op)
				agree(t, srv, rec, "replied "+tt.reply)
				if !tt.drop {
					cmds := srv.Commands(1)
					assert.Equal(t, "QUIT", cmds[len(cmds)-1], "leaves in good order")
				}
			})
		}
	}
}

func TestF48Partly(t *testing.T) {
	srv, d := start(t, []smtptest.Option{
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 2, Do: smtptest.Reply("550 5.1.1 no such user")}),
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 4, Do: smtptest.Reply("452 4.3.1 no space")}),
	})
	rec, err := send(t, d, message(plainText, "a@x.example", "b@x.example", "c@x.example", "d@x.example"))
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
	assert.Equal(t, driver.KindPermanent, driver.KindOf(err), "the same call again would double the accepted")
	want := []driver.Delivery{driver.DeliveryAccepted, driver.DeliveryRejected, driver.DeliveryAccepted, driver.DeliveryDeferred}
	codes := []int{250, 550, 250, 452}
	for i, r := range rec.Recipients {
		assert.Equal(t, want[i], r.Delivery, r.Address)
		assert.Equal(t, codes[i], r.Code, r.Address)
	}
	assert.Equal(t, 550, rec.Code)
	require.ErrorContains(t, err, "2 of 4 recipients not accepted: b@x.example, d@x.example")
	agree(t, srv, rec, "partly")

	// All refused: no DATA.
	srv, d = start(t, []smtptest.Option{
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("550 5.1.1 no")}),
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 2, Do: smtptest.Reply("450 4.2.1 later")}),
	})
	rec, err = send(t, d, message(plainText, "a@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Equal(t, driver.DeliveryRejected, rec.Recipients[0].Delivery)
	assert.NotContains(t, srv.Commands(1), "DATA")

	// What the dot brings holds for the accepted alone.
	srv, d = start(t, []smtptest.Option{
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("450 4.2.1 later")}),
		smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Do: smtptest.Reply("554 5.6.0 spam")}),
	})
	rec, err = send(t, d, message(plainText, "a@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Equal(t, []int{450, 554}, []int{rec.Recipients[0].Code, rec.Recipients[1].Code})
	agree(t, srv, rec, "dot")
}

func TestF49Unknown(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]smtptest.Action{
		"taken and dropped": smtptest.AcceptThenDrop(),
		"dropped":           smtptest.Drop(),
		"reset":             smtptest.Reset(),
		"silence":           smtptest.Hang(),
		"garbage":           smtptest.Raw("what?\r\n"),
		"354":               smtptest.Reply("354 go on"),
		"half a reply":      smtptest.Raw("250-2.0.0 ok\r\n"),
		"two codes":         smtptest.Raw("250-ok\r\n550 no\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			srv, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Do: do})}, WithDataTimeout(50*time.Millisecond))
			m := message(plainText, "b@example.com", "c@example.com")
			rec, err := send(t, d, m)
			assert.Equal(t, driver.DeliveryUnknown, rec.Delivery)
			assert.Equal(t, driver.KindAmbiguous, driver.KindOf(err))
			assert.False(t, driver.KindOf(err).Retryable())
			for _, r := range rec.Recipients {
				assert.Equal(t, driver.DeliveryUnknown, r.Delivery)
			}
			assert.Equal(t, 1, srv.Conns(), "never repeated")
		})
	}
}

func TestF49RefusedStayRefused(t *testing.T) {
	_, d := start(t, []smtptest.Option{
		smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("550 5.1.1 no")}),
		smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Do: smtptest.Drop()}),
	})
	rec, err := send(t, d, message(plainText, "a@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryUnknown, rec.Delivery)
	assert.Equal(t, driver.KindAmbiguous, driver.KindOf(err))
	assert.Equal(t, driver.DeliveryRejected, rec.Recipients[0].Delivery)
	assert.Equal(t, driver.DeliveryUnknown, rec.Recipients[1].Delivery)
}

func TestF50SlowVerdict(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 10*time.Minute, DefaultDataTimeout)
	// The reply to the dot has a time of its own, beyond the command's.
	_, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Do: smtptest.Drip(5*time.Millisecond, "250 2.0.0 it took me a while to think about this\r\n")})},
		WithCommandTimeout(100*time.Millisecond), WithDataTimeout(10*time.Second))
	rec, err := send(t, d, message(plainText))
	require.NoError(t, err)
	assert.Equal(t, 250, rec.Code)
}

func TestF06Drip(t *testing.T) {
	t.Parallel()
	// A byte now and then is no progress: the whole reply has one time-out.
	_, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.MAIL, Do: smtptest.Drip(10*time.Millisecond, "250-ok\r\n")})},
		WithCommandTimeout(150*time.Millisecond))
	begin := time.Now()
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	require.ErrorContains(t, err, "mail: deferred: no answer within")
	assert.Less(t, time.Since(begin), 3*time.Second)
}

func TestF06StalledBody(t *testing.T) {
	t.Parallel()
	srv, d := start(t, nil, driver.WithTimeout(200*time.Millisecond))
	srv.StallRead(300)
	rec, err := send(t, d, message(plainText+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 300_000)))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.ErrorContains(t, err, "data: deferred: no answer within")
	assert.Empty(t, srv.Messages())
}

func TestF51LostBeforeDot(t *testing.T) {
	body := plainText + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 100_000)
	srv, d := start(t, nil)
	srv.CutRead(200_000)
	rec, err := send(t, d, message(body))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Empty(t, srv.Messages())
}

// TestCutEverywhere drops the connection at each byte of a conversation, in
// either direction: sender and ledger must never contradict each other.
func TestCutEverywhere(t *testing.T) {
	t.Parallel()
	fake := []smtptest.Option{smtptest.WithLogin("u", "p"), smtptest.WithMechanisms("CRAM-MD5")}
	srv, d := start(t, fake, driver.WithLogin("u", "p"))
	m := func() *driver.Message { return message("Subject: x\r\n\r\n.dot\r\n", "b@x.example", "c@x.example") }
	_, err := send(t, d, m())
	require.NoError(t, err)
	fromServer, fromClient := len(srv.ServerBytes(1)), len(srv.ClientBytes(1))
	seen := map[driver.Delivery]int{}
	try := func(why string) {
		srv.ClearMessages()
		rec, _ := send(t, d, m())
		agree(t, srv, rec, why)
		seen[rec.Delivery]++
	}
	for n := range fromServer {
		srv.CutWrite(n)
		try("server bytes cut at " + itoa(n))
	}
	srv.CutWrite(-1)
	for n := range fromClient {
		srv.CutRead(n)
		try("client bytes cut at " + itoa(n))
	}
	assert.Zero(t, seen[driver.DeliveryRejected])
	assert.Zero(t, seen[driver.DeliveryPartly])
	assert.Positive(t, seen[driver.DeliveryUnknown])
	assert.Positive(t, seen[driver.DeliveryDeferred])
	assert.Positive(t, seen[driver.DeliveryAccepted], "cut behind the promise")
}

// TestEndings ends the context, or closes the driver, while the server is
// silent at each stage.
func TestEndings(t *testing.T) {
	t.Parallel()
	all := append([]struct {
		at   smtptest.Stage
		name string
	}{{smtptest.STARTTLS, StageSTARTTLS}, {smtptest.AUTH, StageAUTH}, {smtptest.QUIT, StageQUIT}}, stages...)
	for _, stage := range all {
		for _, how := range []string{"cancel", "close"} {
			t.Run(stage.name+" "+how, func(t *testing.T) {
				srv, d := start(t, []smtptest.Option{
					smtptest.WithSTARTTLS(), smtptest.WithLogin("u", "p"),
					smtptest.WithFault(smtptest.Fault{At: stage.at, Do: smtptest.Hang()}),
				}, explicit(), driver.WithLogin("u", "p"), driver.WithTimeout(time.Minute), WithDataTimeout(time.Minute))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				why := errors.New("had enough")
				type outcome struct {
					rec driver.Receipt
					err error
				}
				done := make(chan outcome, 1)
				go func() {
					rec, err := d.Send(ctx, message(plainText))
					done <- outcome{rec, err}
				}()
				require.Eventually(t, func() bool { return reached(srv, stage.at) }, 10*time.Second, time.Millisecond)
				if how == "cancel" {
					cancel(why)
				} else {
					require.NoError(t, d.Close())
				}
				out := <-done
				switch stage.at {
				case smtptest.QUIT:
					require.NoError(t, out.err, "the promise stands")
					assert.Equal(t, driver.DeliveryAccepted, out.rec.Delivery)
					return
				case smtptest.Dot:
					assert.Equal(t, driver.DeliveryUnknown, out.rec.Delivery)
					assert.Equal(t, driver.KindAmbiguous, driver.KindOf(out.err))
				default:
					assert.Equal(t, driver.DeliveryDeferred, out.rec.Delivery)
					if how == "close" {
						assert.Equal(t, driver.KindClosed, driver.KindOf(out.err))
					} else {
						assert.Equal(t, driver.KindTemporary, driver.KindOf(out.err))
					}
				}
				if how == "close" {
					require.ErrorIs(t, out.err, driver.ErrClosed)
				} else {
					require.ErrorIs(t, out.err, why)
				}
			})
		}
	}
}

// reached tells that the server hangs at the stage: the client's bytes for it
// have arrived.
func reached(srv *smtptest.Server, at smtptest.Stage) bool {
	if srv.Conns() == 0 {
		return false
	}
	switch at {
	case smtptest.Greeting:
		return true
	case smtptest.Dot:
		return strings.HasSuffix(string(srv.ClientBytes(1)), "\r\n.\r\n")
	}
	cmds := srv.Commands(1)
	return len(cmds) > 0 && strings.HasPrefix(cmds[len(cmds)-1], string(at))
}

func TestClosed(t *testing.T) {
	_, d := start(t, nil)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	rec, err := send(t, d, message(plainText))
	require.ErrorIs(t, err, driver.ErrClosed)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)

	_, err = d.Poll(t.Context(), nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, driver.Capabilities{Send: true}, driver.CapabilitiesOf(d))
}
