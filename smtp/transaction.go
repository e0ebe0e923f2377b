package smtp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A transaction is one message on one session: MAIL, RCPT, and DATA or BDAT
// (RFC 5321 section 3.3). It has a result for each of its recipients, which
// stands whatever comes later.
//
// With PIPELINING (RFC 2920) the commands go out in one flight. The flight of
// a transaction that waits for the session goes out behind the end of the
// content before it.
type transaction struct {
	source  *source
	env     *envelope
	set     *settings
	to      []int    // the recipients, as indices of env.to
	results []result // as env.to; this transaction decides those of to

	s           *session
	content     *content
	mailReplied bool // the server answered MAIL
	mailOK      bool
	refusal     *ReplyError // of MAIL
	accepted    []int       // recipients that the server took
	dataReply   *reply
	endSent     bool // the network took some of the end of the content
}

// A command is one line of the envelope.
type command struct {
	stage string
	to    int // of RCPT: index of env.to
	line  string
}

const (
	// flightBytes is how many octets of commands go out before their replies
	// are read: the replies to so many fit into any socket's buffer, so that
	// client and server cannot wait for each other (RFC 2920 section 3.1).
	flightBytes = 8 << 10
	// aheadBytes is the largest flight that goes out behind the content of
	// another message, whose fate must not hang on it.
	aheadBytes = 4 << 10
)

// Enhanced status codes (RFC 3463) that mean something to the engine.
const (
	timedOut = "4.4.2" // bad connection: the server had waited for too long
	tooMany  = ".5.3"  // of classes 4 and 5: too many recipients
)

// begin gives the transaction its session and checks that the session can
// carry it. Nothing was sent when it fails.
func (t *transaction) begin(ctx context.Context, s *session) error {
	*t = transaction{source: t.source, env: t.env, set: t.set, to: t.to, results: t.results, s: s}
	// What the envelope asks for is told before what the content would need.
	err := t.checkEnvelope(s)
	if err == nil {
		t.content, err = t.source.fit(ctx, s)
	}
	if err == nil {
		err = t.checkSize(s, t.content)
	}
	return err
}

func (t *transaction) checkEnvelope(s *session) error {
	if err := t.env.check(&s.ext); err != nil {
		return &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, err}
	}
	return nil
}

func (t *transaction) checkSize(s *session, c *content) error {
	if s.ext.maxSize > 0 && c.size > s.ext.maxSize {
		return &failure{StageMAIL, driver.KindPermanent, driver.DeliveryRejected, &SizeError{c.size, s.ext.maxSize}}
	}
	return nil
}

// ahead gives the flight of the transaction on s for sending behind the
// content of another message, nil if it must wait. It is called by the owner
// of s and changes nothing. Behind BDAT it begins with a reset: Postfix takes
// no MAIL after a chunk that it refused before it has seen one.
func (t *transaction) ahead(s *session) []byte {
	c := t.source.asItIs(s, t.set)
	if c == nil || t.checkEnvelope(s) != nil || t.checkSize(s, c) != nil || t.set.oneByOne {
		return nil
	}
	var b []byte
	for _, cmd := range t.commands(s, c, s.chunking()) {
		b = append(append(b, cmd.line...), '\r', '\n')
	}
	if len(b) > aheadBytes {
		return nil
	}
	return b
}

// commands gives the envelope, behind a reset if one is needed. With DATA its
// command belongs to it; BDAT comes with the content.
func (t *transaction) commands(s *session, c *content, reset bool) []command {
	list := make([]command, 0, len(t.to)+3)
	if reset {
		list = append(list, command{stage: StageIdle, line: "RSET"})
	}
	international := t.env.international(&s.ext, c)
	list = append(list, command{stage: StageMAIL, line: t.env.mail(&s.ext, c)})
	for _, i := range t.share(&s.ext) {
		list = append(list, command{stage: StageRCPT, to: i, line: t.env.to[i].rcpt(&s.ext, international)})
	}
	if !s.chunking() {
		list = append(list, command{stage: StageDATA, line: "DATA"})
	}
	return list
}

// share gives the recipients that the server takes in one transaction (RFC
// 9422). The others stay without a result.
func (t *transaction) share(x *extensions) []int {
	to := t.to
	if n := x.limits.recipients; n > 0 && n < len(to) {
		to = to[:n]
	}
	if n := x.limits.domains; n > 0 {
		seen := make(map[string]bool)
		for k, i := range to {
			if seen[t.env.to[i].domain()] = true; len(seen) > n {
				return to[:k]
			}
		}
	}
	return to
}

// run does the transaction; sent tells that its flight went out before. Without
// an error every recipient that the server would hear of has its result; else
// the *failure decides for those that have none. next is a waiter whose flight
// went out.
func (t *transaction) run(ctx context.Context, sent bool, p *pool) (next *waiter, err error) {
	if t.env.dsn && !t.s.ext.has("DSN") {
		t.source.common.Logger.Info("the server does not offer DSN, no notifications are asked for", "driver", driverName, "addr", t.s.c.Addr())
	}
	reset := t.s.dirty
	if sent {
		reset = t.s.chunking() // as ahead had it
	}
	cmds := t.commands(t.s, t.content, reset)
	t.s.mails++
	rides := t.s.chunking() && !sent && t.s.pipelining() && t.content.size > 0
	if !rides {
		if err := t.envelope(cmds, sent); err != nil {
			return nil, err
		}
		if err := t.proceed(); err != nil || len(t.accepted) == 0 {
			return nil, err
		}
		cmds = nil
	}
	if t.s.chunking() {
		return t.chunks(ctx, cmds, p)
	}
	return t.data(ctx, p)
}

// envelope sends the commands, in flights or one by one, and reads their
// replies.
func (t *transaction) envelope(cmds []command, sent bool) error {
	if sent {
		return t.replies(cmds)
	}
	_, err := t.flights(cmds, true)
	return err
}

// flights sends the commands and reads their replies, a flight at a time. The
// last flight is left in the buffer, and returned, if all is false.
func (t *transaction) flights(cmds []command, all bool) ([]command, error) {
	first, bytes := 0, 0
	for i, cmd := range cmds {
		if t.mailReplied && !t.mailOK || cmd.stage == StageDATA && !t.s.pipelining() && len(t.accepted) == 0 {
			break
		}
		if i == first {
			if err := t.s.inTurn(); err != nil {
				return nil, failed(cmd.stage, err)
			}
		}
		if err := t.s.queue(cmd.line); err != nil {
			return nil, failed(cmd.stage, err)
		}
		bytes += len(cmd.line) + 2
		if t.s.pipelining() && bytes < flightBytes && (i+1 < len(cmds) || !all) {
			continue
		}
		if err := t.s.c.Flush(); err != nil {
			return nil, failed(cmds[first].stage, err)
		}
		if err := t.replies(cmds[first : i+1]); err != nil {
			return nil, err
		}
		first, bytes = i+1, 0
	}
	return cmds[first:], nil
}

// replies reads the replies to commands that went out.
func (t *transaction) replies(cmds []command) error {
	for _, cmd := range cmds {
		limit := t.s.commandTimeout()
		if cmd.stage == StageDATA {
			limit = min(limit, DefaultDataStartTimeout)
		}
		r, err := t.s.receive(time.Now().Add(limit))
		if err != nil {
			return failed(cmd.stage, err)
		}
		if err := t.take(cmd, r); err != nil {
			return failed(cmd.stage, err)
		}
	}
	return nil
}

// take notes what the reply to cmd says. 421 ends the session and with it the
// transaction, accepted recipients included.
func (t *transaction) take(cmd command, r *reply) error {
	reply := r.error(cmd.stage, t.s.c.Addr())
	if r.code == 421 {
		t.s.last = true
		return reply
	}
	switch cmd.stage {
	case StageIdle:
		if !r.ok() {
			t.s.last = true
			return reply
		}
		t.s.dirty = false
		return nil
	case StageMAIL:
		if r.code/100 == 3 {
			break
		}
		if r.code/100 == 4 && r.enhanced == timedOut {
			t.s.last = true
			return reply
		}
		t.mailReplied = true
		if t.mailOK = r.ok(); !t.mailOK {
			t.refusal = reply
		}
		t.s.dirty = t.mailOK || t.s.chunking()
		return nil
	case StageRCPT:
		switch {
		case !t.mailOK:
			return nil // the refusal of MAIL decides
		case r.ok():
			t.accepted = append(t.accepted, cmd.to)
			return nil
		case len(t.accepted) > 0 && r.tooMany():
			return nil // the next transaction is for this one
		case len(t.accepted) > 0 && r.code == 552 && r.status() == "":
			t.results[cmd.to] = result{true, driver.DeliveryDeferred, reply}
			return nil
		case r.code/100 != 3:
			_, d := verdict(reply)
			t.results[cmd.to] = result{true, d, reply}
			return nil
		}
	case StageDATA:
		if r.code == 354 || r.code/100 > 3 {
			t.dataReply = r
			return nil
		}
		// A server that takes DATA for done is out of step.
	}
	return t.s.c.Fail("read", driver.KindProtocol, reply)
}

// proceed decides, once the envelope has its replies, whether content follows.
// It does not if nobody was accepted; the results tell why.
func (t *transaction) proceed() error {
	if !t.mailOK || len(t.accepted) == 0 {
		// A server may take DATA all the same: then a lone dot ends it, and
		// nothing was sent to nobody (RFC 2920 section 3.1).
		if t.dataReply != nil && t.dataReply.code == 354 {
			t.s.dirty = t.endEmpty() != nil
		}
		if !t.mailOK {
			return failed(StageMAIL, t.refusal)
		}
		return nil
	}
	if t.dataReply != nil && t.dataReply.code != 354 {
		return failed(StageDATA, t.dataReply.error(StageDATA, t.s.c.Addr()))
	}
	return nil
}

func (t *transaction) endEmpty() error {
	if _, err := t.s.c.Command([]byte(".\r\n")); err != nil {
		return err
	}
	if err := t.s.c.Flush(); err != nil {
		return err
	}
	_, err := t.s.receive(time.Now().Add(t.set.dataTimeout))
	return err
}

// verdict waits for the reply to the end of the content, which holds for every
// recipient accepted so far; with LMTP there is one for each (RFC 2033 section
// 4.2). Only a reply of 2yz, 4yz or 5yz is an answer; anything else leaves the
// outcome unknown (F49).
func (t *transaction) verdict() error {
	groups := [][]int{t.accepted}
	if t.s.lmtp {
		groups = groups[:0]
		for i := range t.accepted {
			groups = append(groups, t.accepted[i:i+1])
		}
	}
	refused := false
	deadline := time.Now().Add(t.set.dataTimeout)
	for _, group := range groups {
		r, err := t.s.receive(deadline)
		if err != nil {
			return t.unknown(err)
		}
		reply := r.error(StageDot, t.s.c.Addr())
		d := driver.DeliveryAccepted
		switch r.code / 100 {
		case 2:
		case 4, 5:
			_, d = verdict(reply)
			t.s.last = t.s.last || r.code == 421
		default:
			return t.unknown(t.s.c.Fail("read", driver.KindProtocol, reply))
		}
		refused = refused || d != driver.DeliveryAccepted
		for _, i := range group {
			t.results[i] = result{true, d, reply}
		}
	}
	t.s.dirty = refused && t.s.chunking()
	return nil
}

func (t *transaction) unknown(err error) *failure {
	if de, ok := err.(*driver.Error); ok {
		err = de.Err
	}
	return &failure{StageDot, driver.KindAmbiguous, driver.DeliveryUnknown, fmt.Errorf("the end of the message was sent, no reply came: %w", err)}
}

// stale reports whether err means that a kept connection had ended before the
// server saw the transaction: then it may be begun anew on another, as nothing
// of its content can have been taken (F53).
func (t *transaction) stale(err error) bool {
	if t.mailReplied || t.endSent {
		return false
	}
	if re, ok := errors.AsType[*ReplyError](err); ok {
		return re.Code == 421 || re.Enhanced == timedOut || re.Stage == StageIdle
	}
	return t.s.c.Err() != nil
}
