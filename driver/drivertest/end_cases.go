package drivertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// endCases are about sessions that are ended, and handlers that go wrong.
var endCases = []testCase{
	{
		name: "CancelInside",
		why:  "a shut-down inside a handler is no fault of the mail: it comes again, and nothing else was touched",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller(driver.WithMaxErrors(1))
			ctx, cancel := context.WithCancel(e.Context())
			defer cancel()
			_, err := e.poll(ctx, d, func(ctx context.Context, h *handover) error {
				if h.subject == mails[1].subject {
					cancel()
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})
			e.wantError("Poll", err, context.Canceled)
			e.wantOrder(subjectsOf(mails[:2])...)
			e.wantLeft(2)
			e.settle(d)
			e.wantOrder(mails[0].subject, mails[1].subject, mails[1].subject, mails[2].subject)
			e.verify()
		},
	},
	{
		name: "CancelAndTake",
		why:  "a handler that finished although its context ended did its work: the mail must not come again",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(2)
			d := e.poller()
			ctx, cancel := context.WithCancel(e.Context())
			defer cancel()
			_, err := e.poll(ctx, d, func(context.Context, *handover) error {
				cancel()
				return nil
			})
			e.wantError("Poll", err, context.Canceled)
			e.wantOrder(mails[0].subject)
			e.wantLeft(1)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "CancelAndReject",
		why:  "a verdict of the handler counts whatever befell the session",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(2)
			d := e.poller()
			ctx, cancel := context.WithCancel(e.Context())
			defer cancel()
			res, _ := e.poll(ctx, d, func(context.Context, *handover) error {
				cancel()
				return driver.Reject(errHost)
			})
			if res.Failed != 1 || len(res.Failures) != 1 {
				e.Fatalf("the result is %+v, want 1 failed", res)
			}
			e.wantFailed(mails[0], res.Failures[0].File, errHost.Error())
			e.mails = slices.Delete(e.mails, 0, 1)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "Panic",
		why:  "a panic over one mail must not take down the host, nor hold up the mails behind it",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller()
			res := e.mustPoll(d, func(_ context.Context, h *handover) error {
				if h.subject == mails[1].subject {
					panic("of the handler")
				}
				return nil
			})
			if res.Delivered != 2 || len(res.Failures) != 1 {
				e.Errorf("the result is %+v, want 2 delivered and 1 failure", res)
			}
			e.wantLeft(1)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "ParserPanic",
		why:  "a mail that hits a bug of the parser must not hold up the mails behind it, and must end where a person finds it (F42)",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			e.disk.poison = []byte("Subject: " + mails[1].subject + "\r\n")
			d := e.poller(driver.WithMaxAttempts(2))
			res := e.mustPoll(d, take)
			if res.Delivered != 2 || len(res.Failures) != 1 || res.Failed != 0 {
				e.Errorf("the result is %+v, want 2 delivered and 1 failure, which is not final", res)
			}
			e.wantLeft(1)
			if res = e.mustPoll(d, take); res.Failed != 1 || len(res.Failures) != 1 {
				e.Fatalf("the result is %+v, want 1 failed", res)
			}
			e.wantFailed(mails[1], res.Failures[0].File, "of the parser")
			e.mails = slices.Delete(e.mails, 1, 2)
			e.mustPoll(d, take)
			e.verify()
		},
	},
	{
		name: "MaxAttempts",
		why:  "a mail that takes the handler down each time must end in quarantine, or it does so for ever",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(2)
			d := e.poller(driver.WithMaxAttempts(3))
			do := func(_ context.Context, h *handover) error {
				if h.subject == mails[0].subject {
					panic("poison")
				}
				return nil
			}
			var res driver.PollResult
			for range 3 {
				res = e.mustPoll(d, do)
			}
			if n := len(e.handovers(mails[0])); n != 3 {
				e.Errorf("the mail was handed over %d times, want 3", n)
			}
			if res.Failed != 1 || len(res.Failures) != 1 {
				e.Fatalf("the result is %+v, want 1 failed", res)
			}
			e.wantFailed(mails[0], res.Failures[0].File, "poison")
			e.mails = slices.Delete(e.mails, 0, 1)
			e.mustPoll(d, take)
			e.verify()
		},
	},
	{
		name: "ErrorsNeverQuarantine",
		why:  "an outage of the host must not empty the mailbox into the failed directory, however long it lasts",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(1)
			d := e.poller(driver.WithMaxAttempts(2))
			for range 6 {
				e.mustPoll(d, func(context.Context, *handover) error { return errHost })
			}
			e.wantLeft(1)
			e.settle(d)
			if n := len(e.handovers(mails[0])); n != 7 {
				e.Errorf("the mail was handed over %d times, want 7", n)
			}
			e.verify()
		},
	},
	{
		name: "MaxErrors",
		why:  "a host that asks for it gets quarantine after so many errors",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(1)
			d := e.poller(driver.WithMaxErrors(2))
			var res driver.PollResult
			for range 2 {
				res = e.mustPoll(d, func(context.Context, *handover) error { return errHost })
			}
			if res.Failed != 1 || len(res.Failures) != 1 {
				e.Fatalf("the result is %+v, want 1 failed", res)
			}
			e.wantFailed(mails[0], res.Failures[0].File, errHost.Error())
			e.mails = nil
			e.mustPoll(d, take)
			e.verify()
		},
	},
	{
		name: "HandlerTimeout",
		why:  "a handler that hangs must be told, and its mail must come again",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(2)
			d := e.poller(driver.WithHandlerTimeout(20*time.Millisecond, patience))
			res := e.mustPoll(d, func(ctx context.Context, h *handover) error {
				if h.subject != mails[0].subject {
					return nil
				}
				<-ctx.Done()
				e.wantError("the handler's context", context.Cause(ctx), driver.ErrHandlerTimeout)
				return ctx.Err()
			})
			if res.Delivered != 1 || res.Refused != 1 {
				e.Errorf("the result is %+v, want 1 delivered and 1 refused", res)
			}
			e.wantLeft(1)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "HandlerStuck",
		why:  "a handler that never returns must not hold the session, and nobody else may have its mail meanwhile",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(2)
			d := e.poller(driver.WithHandlerTimeout(time.Millisecond, time.Millisecond))
			release, returned := make(chan struct{}), make(chan struct{})
			letGo := sync.OnceFunc(func() { close(release) })
			defer letGo()
			_, err := e.poll(e.Context(), d, func(context.Context, *handover) error {
				defer close(returned)
				<-release
				return nil
			})
			e.wantError("Poll", err, driver.ErrHandlerStuck)
			_, err = e.poll(e.Context(), d, take)
			e.wantError("a poll beside the stuck handler", err, driver.ErrMailboxBusy)
			e.wantOrder(mails[0].subject)
			letGo()
			e.wait(returned, "the stuck handler")
			d = e.poller()
			e.until("the mailbox is free", func() bool {
				_, err := e.poll(e.Context(), d, take)
				if err != nil && !errors.Is(err, driver.ErrMailboxBusy) {
					e.Fatalf("Poll: %v", err)
				}
				return err == nil
			})
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "CloseDuringPoll",
		why:  "Close must end a session promptly, wait for it, and lose nothing",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller()
			entered, polled := make(chan struct{}), make(chan error, 1)
			go func() {
				_, err := e.poll(e.Context(), d, func(ctx context.Context, h *handover) error {
					if h.subject == mails[0].subject {
						return nil
					}
					close(entered)
					<-ctx.Done()
					return ctx.Err()
				})
				polled <- err
			}()
			e.wait(entered, "the second mail")
			if err := d.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
			select {
			case err := <-polled:
				e.wantError("Poll", err, driver.ErrClosed)
				e.wantKind("Poll", err, driver.KindClosed)
			case <-time.After(patience):
				e.Fatal("Poll goes on after Close has returned")
			}
			e.settle(e.poller())
			e.wantOrder(mails[0].subject, mails[1].subject, mails[1].subject, mails[2].subject)
			e.verify()
		},
	},
	{
		name: "CloseWhileServerIsSilent",
		why:  "a server that says nothing must not keep a host from shutting down: Close ends the wait at once",
		need: needPoll | needNetwork,
		run: func(e *env) {
			e.add(1)
			d := e.poller()
			e.silence(func() error { _, err := e.poll(e.Context(), d, take); return err }, d)
			e.settle(e.poller())
			e.verify()
		},
	},
}

// silence makes the server silent at its first word and closes the driver in
// the middle of call.
func (e *env) silence(call func() error, d driver.Driver) {
	e.Helper()
	e.wire.reset()
	var stalled chan struct{}
	e.wire.set(func(w *wire) { w.stall, stalled = 0, w.stalled })
	ended := make(chan error, 1)
	go func() { ended <- call() }()
	e.wait(stalled, "the silence")
	begin := time.Now()
	if err := d.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
	if took := time.Since(begin); took > patience/4 {
		e.Errorf("Close took %v", took)
	}
	select {
	case err := <-ended:
		e.wantError("the call", err, driver.ErrClosed)
	case <-time.After(patience):
		e.Fatal("the call goes on after Close has returned")
	}
	e.wire.reset()
}

// until tries something until it is so.
func (e *env) until(what string, is func() bool) {
	e.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			e.Fatalf("%s: not within %v", what, patience)
		}
	}
}
