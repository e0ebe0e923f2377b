package driver

import (
	"context"
	"errors"
	"io"
)

// A Poller takes mail from one mailbox.
//
//   - Poll is one bounded session: it connects, hands at most a batch of mails
//     to h, disconnects and returns. It leaves no goroutine behind, except
//     while a handler is stuck ([ErrHandlerStuck]).
//   - Handlers run one at a time, in the order of the server.
//   - The error is the session's; what befell single mails is in the result,
//     which is valid with an error too.
//   - When ctx ends, Poll lets a running handler return (WithHandlerTimeout) and
//     commits what is done, which may take ten seconds more.
//   - opts hold for this call alone.
type Poller interface {
	Poll(ctx context.Context, h Handler, opts ...Option) (PollResult, error)
}

// A Sender hands messages to a server.
//
//   - Send returns once the server took responsibility, or refused, or the
//     outcome is unknown. The error is nil only if every recipient was
//     accepted; the receipt is filled always. [DeliveryOf] classifies the error.
//   - Nothing is repeated once the end of the message was sent.
//   - opts hold for this call alone.
type Sender interface {
	Send(ctx context.Context, m *Message, opts ...Option) (Receipt, error)
}

// A Driver is one configured mailbox or relay. Its methods may be called by any
// number of goroutines; two polls of one mailbox exclude each other with
// [ErrMailboxBusy].
//
// Close is idempotent, ends a running Poll or Send with [ErrClosed] and waits
// for it. Inside a handler return [Stop] instead: Close would wait for itself.
type Driver interface {
	Poller
	Sender
	io.Closer
}

// A Handler takes one mail. What it returns decides what becomes of it:
//
//	nil            done: recorded, then removed from the server as configured
//	Stop           done, and the session, or Run, ends without error
//	Reject(err)    never again: the raw mail goes to the failed directory
//	another error  not done: the mail stays, and comes again after a back-off
//
// Stop counts only as itself; an error that wraps it is an error. ctx ends at
// the handler's time limit, or when the poll is ended. The event is the
// handler's; its files are the host's once the handler returned nil, so a
// handler that deletes them must return nil.
type Handler interface {
	Handle(ctx context.Context, ev *Event) error
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(ctx context.Context, ev *Event) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, ev *Event) error { return f(ctx, ev) }

// Capabilities tells what a driver can do.
type Capabilities struct {
	Poll bool // Poll works
	Send bool // Send works
	Push bool // the driver is a Waiter: the server tells of new mail
}

// CapabilitiesOf tells what d can do, beforehand: it asks d if it has a method
// Capabilities() Capabilities, and else believes that it can poll and send.
// Wrappers of drivers should forward that method.
func CapabilitiesOf(d Driver) Capabilities {
	if c, ok := d.(interface{ Capabilities() Capabilities }); ok {
		return c.Capabilities()
	}
	_, push := d.(Waiter)
	return Capabilities{Poll: true, Send: true, Push: push}
}

// A Waiter is a driver whose server tells of new mail (IMAP IDLE, EWS
// streaming). Wait returns nil when a poll is worth while, and an error when
// it can't wait any longer; it polls nothing itself, and returns at once if
// mail came since the last poll. [Run] uses it besides the interval.
type Waiter interface {
	Wait(ctx context.Context) error
}

// NoPoll is embedded by drivers that cannot poll.
type NoPoll struct{}

// Poll returns an error that is errors.ErrUnsupported.
func (NoPoll) Poll(context.Context, Handler, ...Option) (PollResult, error) {
	return PollResult{}, &Error{Op: "poll", Kind: KindConfig, Err: errors.ErrUnsupported}
}

// NoSend is embedded by drivers that cannot send.
type NoSend struct{}

// Send returns an error that is errors.ErrUnsupported.
func (NoSend) Send(context.Context, *Message, ...Option) (Receipt, error) {
	return Receipt{}, &Error{Op: "send", Kind: KindConfig, Err: errors.ErrUnsupported}
}

// Pair makes one driver of in, which polls, and out, which sends: POP3 or IMAP
// with SMTP. A half that cannot do its part is refused here, with an error of
// kind [KindConfig]. Close closes both.
func Pair(in, out Driver) (Driver, error) {
	var errs []error
	if in == nil || !CapabilitiesOf(in).Poll {
		errs = append(errs, errors.New("the first driver cannot poll"))
	}
	if out == nil || !CapabilitiesOf(out).Send {
		errs = append(errs, errors.New("the second driver cannot send"))
	}
	if len(errs) > 0 {
		return nil, &Error{Op: "pair", Kind: KindConfig, Err: errors.Join(append(errs, errors.ErrUnsupported)...)}
	}
	p := &pair{in: in, out: out}
	if w, ok := in.(Waiter); ok && CapabilitiesOf(in).Push {
		return &pushPair{pair: p, Waiter: w}, nil
	}
	return p, nil
}

type pair struct{ in, out Driver }

func (p *pair) Poll(ctx context.Context, h Handler, opts ...Option) (PollResult, error) {
	return p.in.Poll(ctx, h, opts...)
}

func (p *pair) Send(ctx context.Context, m *Message, opts ...Option) (Receipt, error) {
	return p.out.Send(ctx, m, opts...)
}

func (p *pair) Close() error { return errors.Join(p.in.Close(), p.out.Close()) }

func (p *pair) Capabilities() Capabilities { return Capabilities{Poll: true, Send: true} }

func (p *pair) Schedule() Schedule {
	if s, ok := p.in.(interface{ Schedule() Schedule }); ok {
		return s.Schedule()
	}
	return NewSchedule()
}

type pushPair struct {
	*pair
	Waiter
}

func (p *pushPair) Capabilities() Capabilities {
	return Capabilities{Poll: true, Send: true, Push: true}
}
