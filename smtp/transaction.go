package smtp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A transaction is one message on one session: MAIL, RCPT, DATA (RFC 5321
// section 3.3). It keeps a result for each recipient, which stands whatever
// comes later.
type transaction struct {
	s       *session
	env     *envelope
	content *content
	results []result // as env.to
	dotSent bool     // the network took at least one octet of the final dot
}

// A result is what is known of one recipient. Without a reply it is decided
// by what ended the transaction.
type result struct {
	decided  bool
	delivery driver.Delivery
	reply    *ReplyError // the deciding reply, also where it accepts
}

func newTransaction(s *session, env *envelope, c *content) *transaction {
	return &transaction{s: s, env: env, content: c, results: make([]result, len(env.to))}
}

// run does the transaction. A nil error means that every recipient has its
// result; else the *failure decides for those that have none.
func (t *transaction) run(ctx context.Context) error {
	if err := t.content.check(&t.s.ext, t.s.set.maxLine); err != nil {
		return &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, err}
	}
	if t.env.dsn && !t.s.ext.has("DSN") {
		t.s.common.Logger.Info("the server does not offer DSN, no notifications are asked for", "driver", driverName, "addr", t.s.c.Addr())
	}
	r, err := t.s.command(t.env.mail(&t.s.ext, t.content))
	if err != nil {
		return failed(StageMAIL, err)
	}
	if !r.ok() {
		return failed(StageMAIL, r.error(StageMAIL, t.s.c.Addr()))
	}
	accepted, err := t.recipients()
	if err != nil || accepted == 0 {
		return err
	}
	r, err = t.s.command("DATA")
	if err != nil {
		return failed(StageDATA, err)
	}
	if r.code != 354 {
		if r.ok() {
			// A server that takes DATA for done is out of step.
			return failed(StageDATA, t.s.c.Fail("read", driver.KindProtocol, r.error(StageDATA, t.s.c.Addr())))
		}
		return failed(StageDATA, r.error(StageDATA, t.s.c.Addr()))
	}
	if err := t.data(ctx); err != nil {
		return err
	}
	return t.verdict()
}

// recipients says RCPT for each. 421 ends the session and with it the
// transaction, accepted recipients included.
func (t *transaction) recipients() (accepted int, err error) {
	for i := range t.env.to {
		r, err := t.s.command(t.env.to[i].rcpt(&t.s.ext))
		if err != nil {
			return 0, failed(StageRCPT, err)
		}
		reply := r.error(StageRCPT, t.s.c.Addr())
		switch {
		case r.ok():
			accepted++
		case r.code == 421:
			return 0, failed(StageRCPT, reply)
		case r.code/100 == 3:
			return 0, failed(StageRCPT, t.s.c.Fail("read", driver.KindProtocol, reply))
		default:
			_, d := verdict(reply)
			t.results[i] = result{true, d, reply}
		}
	}
	return accepted, nil
}

// data sends the content and the final dot, and notes whether any of the dot
// went out. Up to there the server must throw away what it got, so that the
// message is deferred; from there on nobody knows.
func (t *transaction) data(ctx context.Context) error {
	if err := t.content.transmit(ctx, t.s.c); err != nil {
		// The connection ends here without the dot: the message must not
		// look complete.
		f := sourceFailure(StageDATA, err)
		_ = t.s.c.Fail("write", f.kind, f.err)
		return f
	}
	if err := t.s.inTurn(); err != nil {
		f := failed(StageDATA, err)
		_ = t.s.c.Fail("write", f.kind, f.err)
		return f
	}
	at := t.s.c.Queued()
	_, err := t.s.c.Write([]byte(".\r\n"))
	if err == nil {
		err = t.s.c.Flush()
	}
	t.dotSent = t.s.c.Taken() > at
	switch {
	case err == nil:
		return nil
	case t.dotSent:
		return t.unknown(err)
	}
	return failed(StageDATA, err)
}

// verdict waits for the reply to the final dot, which holds for every
// recipient accepted so far. Only a reply of 2yz, 4yz or 5yz is an answer;
// anything else leaves the outcome unknown (F49).
func (t *transaction) verdict() error {
	r, err := t.s.receive(time.Now().Add(t.s.set.dataTimeout))
	if err != nil {
		return t.unknown(err)
	}
	reply := r.error(StageDot, t.s.c.Addr())
	d := driver.DeliveryAccepted
	switch r.code / 100 {
	case 2:
	case 4, 5:
		_, d = verdict(reply)
	default:
		return t.unknown(t.s.c.Fail("read", driver.KindProtocol, reply))
	}
	for i := range t.results {
		if !t.results[i].decided {
			t.results[i] = result{true, d, reply}
		}
	}
	return nil
}

func (t *transaction) unknown(err error) *failure {
	if de, ok := err.(*driver.Error); ok {
		err = de.Err
	}
	return &failure{StageDot, driver.KindAmbiguous, driver.DeliveryUnknown, fmt.Errorf("the end of the message was sent, no reply came: %w", err)}
}

// settle gives every recipient without a result that of f, or of a refusal to
// all.
func settle(results []result, f *failure) {
	for i := range results {
		if !results[i].decided {
			results[i] = result{decided: true, delivery: f.delivery, reply: replyOf(f)}
		}
	}
}

// overall joins the results into one outcome.
func overall(results []result) driver.Delivery {
	var n [driver.DeliveryPartly + 1]int
	for _, r := range results {
		n[r.delivery]++
	}
	switch {
	case n[driver.DeliveryUnknown] > 0:
		return driver.DeliveryUnknown
	case n[driver.DeliveryAccepted] == len(results):
		return driver.DeliveryAccepted
	case n[driver.DeliveryAccepted] > 0:
		return driver.DeliveryPartly
	case n[driver.DeliveryDeferred] > 0:
		return driver.DeliveryDeferred
	}
	return driver.DeliveryRejected
}

// decisive picks the reply that stands for the whole message: the first among
// those that made the outcome what it is, the worst first.
func decisive(results []result, d driver.Delivery) *ReplyError {
	order := []driver.Delivery{d}
	if d == driver.DeliveryPartly {
		order = []driver.Delivery{driver.DeliveryRejected, driver.DeliveryDeferred}
	}
	for _, want := range order {
		for _, r := range results {
			if r.delivery == want && r.reply != nil {
				return r.reply
			}
		}
	}
	return nil
}

// summary names the recipients that were not accepted, with their replies.
func summary(env []driver.Recipient, results []result) error {
	var refused []string
	var first *ReplyError
	for i, r := range results {
		if r.delivery == driver.DeliveryAccepted {
			continue
		}
		if first == nil {
			first = r.reply
		}
		refused = append(refused, env[i].Address)
	}
	return &recipientsError{refused, len(results), first}
}

// A recipientsError is the cause of a send that failed for recipients and not
// as a whole.
type recipientsError struct {
	refused []string
	of      int
	first   *ReplyError
}

const maxNamed = 3

func (e *recipientsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d recipients not accepted", len(e.refused), e.of)
	if e.first != nil {
		fmt.Fprintf(&b, ": %s: %v", strings.Join(e.refused[:min(len(e.refused), maxNamed)], ", "), e.first)
	}
	return b.String()
}

// Unwrap gives the first reply. A nil pointer must not become an error.
func (e *recipientsError) Unwrap() error {
	if e.first == nil {
		return nil
	}
	return e.first
}
