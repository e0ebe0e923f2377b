package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

var errHost = errors.New("the host's database is down")

// pollCases are about what the handler answers, on a healthy server and disk.
var pollCases = []testCase{
	{
		name: "Order",
		why:  "answers in a thread make sense only in the order in which they came",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(5)
			res := e.mustPoll(e.poller(), take)
			e.wantOrder(subjectsOf(mails)...)
			if res.Listed != 5 || res.Delivered != 5 || res.Removed != 5 || res.More {
				e.Errorf("the result is %+v, want 5 listed, delivered and removed, and no more", res)
			}
			e.verify()
		},
	},
	{
		name: "Ack",
		why:  "a mail that the handler took must be gone, or each poll repeats it",
		need: needPoll,
		run: func(e *env) {
			e.add(2)
			d := e.poller()
			e.mustPoll(d, take)
			e.wantLeft(0)
			if res := e.mustPoll(d, take); res.Listed != 0 {
				e.Errorf("the second session lists %d mails", res.Listed)
			}
			e.verify()
		},
	},
	{
		name: "Empty",
		why:  "most sessions find nothing, and must cost nothing and leave nothing",
		need: needPoll,
		run: func(e *env) {
			if res := e.mustPoll(e.poller(), take); res.Listed != 0 || res.More || !res.RetryAt.IsZero() {
				e.Errorf("the result is %+v, want zeros", res)
			}
			e.verify()
		},
	},
	{
		name: "Batch",
		why:  "a huge mailbox must be taken in pieces, in order, with the host told that there is more",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(5)
			d := e.poller(driver.WithBatchSize(2))
			for i, want := range []struct {
				delivered int
				more      bool
			}{{2, true}, {2, true}, {1, false}} {
				res := e.mustPoll(d, take)
				if res.Delivered != want.delivered || res.More != want.more {
					e.Errorf("session %d: delivered %d, more %v; want %+v", i+1, res.Delivered, res.More, want)
				}
			}
			e.wantOrder(subjectsOf(mails)...)
			e.verify()
		},
	},
	{
		name: "Big",
		why:  "a mail larger than every buffer on its way must arrive as it was sent",
		need: needPoll,
		run: func(e *env) {
			e.addSized(1, 700_000)
			e.addSized(1, 1)
			e.settle(e.poller())
			e.verify()
		},
	},
	{
		name: "Retry",
		why:  "what a handler refuses must come again, as the same event with the same files, until it is taken",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller()
			refuse := func(_ context.Context, h *handover) error {
				if h.subject == mails[1].subject && h.attempt < 3 {
					return errHost
				}
				return nil
			}
			res := e.mustPoll(d, refuse)
			if res.Delivered != 2 || res.Refused != 1 || len(res.Failures) != 1 || !errors.Is(res.Failures[0], errHost) || res.RetryAt.IsZero() {
				e.Errorf("the result is %+v, want 2 delivered, 1 refused with the handler's error and a time to come again", res)
			}
			e.wantLeft(1)
			e.restart()
			d = e.poller()
			e.mustPoll(d, refuse)
			e.mustPoll(d, refuse)
			a, b, c := mails[0].subject, mails[1].subject, mails[2].subject
			e.wantOrder(a, b, c, b, b)
			e.verify()
		},
	},
	{
		name: "BackOff",
		why:  "one mail that the host cannot take now must not hold up the others, nor be offered in a loop",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller(driver.WithBatchSize(1), driver.WithRetry(time.Hour, time.Hour))
			e.mustPoll(d, func(context.Context, *handover) error { return errHost })
			e.mustPoll(d, take)
			res := e.mustPoll(d, take)
			if res.Waiting != 1 || time.Until(res.RetryAt) < 50*time.Minute {
				e.Errorf("the result is %+v, want one mail waiting for about an hour", res)
			}
			e.wantOrder(subjectsOf(mails)...)
			e.wantLeft(1)
		},
	},
	{
		name: "Trouble",
		why:  "when the host takes nothing the session must end: a database outage is not a fault of the mails",
		need: needPoll,
		run: func(e *env) {
			e.add(6)
			d := e.poller()
			_, err := e.poll(e.Context(), d, func(context.Context, *handover) error { return errHost })
			e.wantKind("Poll", err, driver.KindTemporary)
			e.wantError("Poll", err, errHost)
			if n := len(e.order()); n != 3 {
				e.Errorf("%d mails were offered, want 3", n)
			}
			e.wantLeft(6)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "Reject",
		why:  "a mail that nobody can ever take must be put where a person finds it, whole and with the reason, and leave the mailbox",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller()
			res := e.mustPoll(d, func(_ context.Context, h *handover) error {
				if h.subject == mails[1].subject {
					return driver.Reject(errHost)
				}
				return nil
			})
			if res.Delivered != 2 || res.Failed != 1 || len(res.Failures) != 1 || res.Failures[0].File == "" {
				e.Fatalf("the result is %+v, want 2 delivered, 1 failed and its file", res)
			}
			e.wantFailed(mails[1], res.Failures[0].File, errHost.Error())
			e.mails = slices.Delete(e.mails, 1, 2)
			e.mustPoll(d, take)
			e.wantOrder(subjectsOf(mails)...)
			e.verify()
		},
	},
	{
		name: "Stop",
		why:  "a host that is shutting down takes the mail at hand, no other, and that is no error",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(4)
			d := e.poller()
			res := e.mustPoll(d, func(_ context.Context, h *handover) error {
				if h.subject == mails[1].subject {
					return driver.Stop
				}
				return nil
			})
			if res.Delivered != 2 || !res.More {
				e.Errorf("the result is %+v, want 2 delivered and more", res)
			}
			e.wantOrder(subjectsOf(mails[:2])...)
			e.wantLeft(2)
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "LeaveOnServer",
		why:  "a host that shares its mailbox with people leaves the mails there, and still wants each but once",
		need: needPoll,
		run: func(e *env) {
			e.add(2)
			d := e.poller(driver.WithLeaveOnServer(true))
			e.mustPoll(d, take)
			e.wantLeft(2)
			e.add(1)
			e.restart()
			d = e.poller(driver.WithLeaveOnServer(true))
			res := e.mustPoll(d, take)
			if res.Known != 2 || res.Delivered != 1 {
				e.Errorf("the result is %+v, want 2 known and 1 delivered", res)
			}
			e.wantLeft(3)
			e.verifyTaken(e.mails)
			e.mustPoll(d, take, driver.WithLeaveOnServer(false))
			e.verify()
		},
	},
	{
		name: "StableID",
		why:  "hosts recognise a repeat by Event.ID, also after they moved to another machine",
		need: needPoll,
		run: func(e *env) {
			e.add(2)
			ids := func() (list []string) {
				e.mustPoll(e.poller(driver.WithLeaveOnServer(true)), take)
				for _, h := range e.seen {
					list = append(list, h.id)
				}
				return list
			}
			here := ids()
			e.fresh()
			if there := ids(); len(here) != 2 || here[0] == here[1] || !slices.Equal(here, there) {
				e.Errorf("the ids are %q here and %q there", here, there)
			}
		},
	},
	{
		name: "Override",
		why:  "an option of one call must not change the next one, or a host's single exception becomes its rule",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(4)
			d := e.poller()
			if res := e.mustPoll(d, take, driver.WithBatchSize(1), driver.WithLeaveOnServer(true)); res.Delivered != 1 || !res.More || res.Removed != 0 {
				e.Errorf("the result is %+v, want 1 delivered, more, and none removed", res)
			}
			e.wantLeft(4)
			if res := e.mustPoll(d, take); res.Delivered != 3 || res.More || res.Removed != 4 {
				e.Errorf("the next call: %+v, want 3 delivered, no more, 4 removed", res)
			}
			e.wantOrder(subjectsOf(mails)...)
			e.verify()
		},
	},
	{
		name: "Busy",
		why:  "two pollers of one mailbox would hand over each mail twice",
		need: needPoll,
		run: func(e *env) {
			e.add(1)
			d, other := e.poller(), e.poller()
			sp, err := spool.New(e.root)
			if err != nil {
				e.Fatal(err)
			}
			e.Cleanup(func() { _ = sp.Close() })
			third := e.poller(driver.WithSpool(sp))
			e.mustPoll(d, func(ctx context.Context, _ *handover) error {
				for i, x := range []driver.Driver{d, other, third} {
					_, err := x.Poll(ctx, driver.HandlerFunc(func(context.Context, *driver.Event) error {
						e.Error("a second poller got the mail")
						return nil
					}))
					e.wantError(fmt.Sprintf("poller %d", i+1), err, driver.ErrMailboxBusy)
					e.wantKind("Poll", err, driver.KindBusy)
				}
				return nil
			})
			e.mustPoll(third, take)
			e.verify()
		},
	},
	{
		name: "ManyPollers",
		why:  "a host may poll from any number of goroutines; all but one are told that the mailbox is busy",
		need: needPoll,
		run: func(e *env) {
			e.add(8)
			d := e.poller(driver.WithBatchSize(2))
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 4 {
						if _, err := e.poll(e.Context(), d, take); err != nil && !errors.Is(err, driver.ErrMailboxBusy) {
							e.Errorf("Poll: %v", err)
						}
					}
				})
			}
			wg.Wait()
			e.settle(d)
			e.verify()
		},
	},
	{
		name: "NilHandler",
		why:  "a mistake of the host must be an error, not a panic in the middle of a session",
		need: needPoll,
		run: func(e *env) {
			e.add(1)
			_, err := e.poller().Poll(e.Context(), nil)
			e.wantKind("Poll", err, driver.KindConfig)
			e.wantLeft(1)
		},
	},
}

// wantFailed checks what the failed directory has of a mail.
func (e *env) wantFailed(m *mail, file, reason string) {
	e.Helper()
	if filepath.Dir(file) != e.spool.Dir(spool.Failed) {
		e.Errorf("the failed mail is at %s, want it in %s", file, e.spool.Dir(spool.Failed))
	}
	if raw := e.readFile(file); !bytes.Equal(raw, m.raw) {
		e.Errorf("the failed mail is not as it was sent")
	}
	told := false
	for _, f := range e.files(spool.Failed) {
		told = told || f != file && strings.Contains(string(e.readFile(f)), reason)
	}
	if !told {
		e.Errorf("no reason file tells %q: %q", reason, e.files(spool.Failed))
	}
}
