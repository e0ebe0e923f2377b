package drivertest

import (
	"context"
	"iter"
	"math"
	"slices"
	"syscall"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// troubleCases break the connection and the disk under a poll.
var troubleCases = []testCase{
	{
		name: "LostCommit",
		why:  "when the server's word that the mails are gone is lost, they may be there or not: neither may lead to a repeat",
		need: needPoll | needNetwork,
		run: func(e *env) {
			d := e.poller()
			for range 2 { // what a driver learns of a server for good shortens its later sessions
				e.wire.reset()
				e.add(2)
				e.mustPoll(d, take)
			}
			_, _, turns := e.wire.counts()
			e.verify()
			e.forget()
			// The last answers may be those to a good-bye that matters to
			// nobody: go back to the one whose loss the driver minds.
			for i, at := range slices.Backward(turns) {
				e.add(2)
				e.wire.reset()
				e.wire.set(func(w *wire) { w.cutRead = at })
				_, err := e.poll(e.Context(), d, take)
				minded := err != nil
				if minded && i > 0 && len(e.order()) != 2 {
					e.Errorf("the session failed before both mails were handed over: %v", err)
				}
				e.wire.reset()
				e.settle(d)
				e.verify()
				e.forget()
				if minded {
					e.wantRetryable(err)
					return
				}
			}
			e.Error("the driver minds no answer of the server at all")
		},
	},
	{
		name: "PartialMail",
		why:  "half a mail must never be taken for a whole one, nor leave a file",
		need: needPoll | needNetwork,
		run: func(e *env) {
			mails := e.addSized(1, 60_000)
			e.mustPoll(e.poller(driver.WithLeaveOnServer(true)), take)
			read, _, _ := e.wire.counts()
			e.fresh()
			d := e.poller()
			for _, at := range []int64{read / 4, read / 2, read * 3 / 4} {
				e.wire.reset()
				e.wire.set(func(w *wire) { w.cutRead = at })
				_, err := e.poll(e.Context(), d, take)
				e.wantRetryable(err)
				e.wantOrder()
				e.verifyFiles()
			}
			e.wire.reset()
			e.wantLeft(1)
			e.settle(d)
			e.wantOrder(subjectsOf(mails)...)
			e.verify()
		},
	},
	{
		name: "CutReading",
		why:  "a connection may break at any byte; whatever the byte, no mail may be lost, repeated or torn",
		need: needPoll | needNetwork,
		run:  func(e *env) { e.cutEverywhere(func(w *wire) *int64 { return &w.cutRead }) },
	},
	{
		name: "CutWriting",
		why:  "a command that the server saw half of must not do harm",
		need: needPoll | needNetwork,
		run: func(e *env) {
			e.cutEverywhere(func(w *wire) *int64 { return &w.cutWrite })
		},
	},
	{
		name: "DiskFull",
		why:  "a full disk must cost time and nothing else: the mails stay on the server, and come when there is space again",
		need: needPoll,
		run: func(e *env) {
			e.breakDisk(syscall.ENOSPC, -1, opCreate, opWrite)
		},
	},
	{
		name: "DiskError",
		why:  "a write that the disk did not confirm has not happened: no mail may depend on it",
		need: needPoll,
		run: func(e *env) {
			e.breakDisk(syscall.EIO, 1, opSync, opDir)
		},
	},
	{
		name: "Leftovers",
		why:  "mails that were fetched ahead and not handed over must leave no file, also when removing one fails",
		need: needPoll,
		run: func(e *env) {
			mails := e.add(3)
			d := e.poller(driver.WithDeleteProcessed(false)) // so that only what is left over is removed
			e.mustPoll(d, func(context.Context, *handover) error {
				e.until("the next mail was fetched ahead", func() bool { return len(e.files(spool.Incoming)) >= 6 })
				e.disk.failAt(1, 1, syscall.EIO, opRemove)
				return driver.Stop
			})
			if !e.disk.heal() {
				e.Error("nothing was removed")
			}
			e.wantOrder(mails[0].subject)
			e.verifyFiles()
			e.settle(e.poller())
			e.verify()
		},
	},
	{
		name: "DiskRename",
		why:  "renames and removals fail too, and the mail whose file is at stake must not be lost for it",
		need: needPoll,
		run: func(e *env) {
			e.breakDisk(syscall.EIO, 1, opRename, opRemove)
		},
	},
}

// positions spreads the faults over a session of so many bytes or operations,
// beginning with the first.
func (e *env) positions(total int64) iter.Seq[int64] {
	n := int64(e.h.Positions)
	if n <= 0 {
		n = DefaultPositions
	}
	n = min(n, total)
	return func(yield func(int64) bool) {
		for i := range n {
			if !yield(i * total / n) {
				return
			}
		}
	}
}

func (e *env) wantRetryable(err error) {
	e.Helper()
	if err == nil || !driver.KindOf(err).Retryable() {
		e.Errorf("got error %v of kind %v, want one after which driver.Run tries again", err, driver.KindOf(err))
	}
}

// cutEverywhere polls two mails again and again, with the connection broken at
// one byte after the other.
func (e *env) cutEverywhere(limit func(w *wire) *int64) {
	e.Helper()
	d := e.poller()
	e.add(2)
	e.mustPoll(d, take)
	e.verify()
	e.forget()
	read, wrote, _ := e.wire.counts()
	probe := wire{cutRead: read, cutWrite: wrote}
	rounds := 0
	for at := range e.positions(*limit(&probe)) {
		if len(e.mails) == 0 {
			e.add(2)
		}
		e.wire.reset()
		e.wire.set(func(w *wire) { *limit(w) = at })
		_, err := e.poll(e.Context(), d, take)
		cut := e.wire.cut()
		e.wire.reset()
		if e.wire.open() > 0 {
			e.Errorf("the connection was not closed")
		}
		e.verifyFiles()
		switch {
		case err != nil && !cut:
			e.Errorf("the session failed although nothing was cut: %v", err)
		case err != nil:
			e.wantRetryable(err)
		}
		if rounds++; rounds%3 == 0 {
			e.restart() // what memory knows must not be needed
			d = e.poller()
		}
		if len(e.order()) > 0 {
			e.settle(d)
			e.verify()
			e.forget()
		}
		if e.Failed() {
			e.Fatalf("the connection was cut after %d bytes", at)
		}
	}
	e.settle(d)
	e.verify()
}

// breakDisk polls two mails again and again, with one operation of some kinds
// after the other failing, until a session gets by without.
func (e *env) breakDisk(fault error, count int, kinds ...diskOp) {
	e.Helper()
	d := e.poller()
	e.add(2)
	e.disk.failAt(math.MaxInt, 0, nil, kinds...)
	e.mustPoll(d, take)
	total := e.disk.ops()
	e.verify()
	e.forget()
	e.repeats = true
	fired := 0
	for n := range e.positions(total) {
		if len(e.mails) == 0 {
			e.add(2)
		}
		e.disk.failAt(int(n)+1, count, fault, kinds...)
		_, err := e.poll(e.Context(), d, take)
		hit := e.disk.heal()
		if hit {
			fired++
		}
		switch {
		case err != nil && !hit:
			e.Errorf("the session on the healthy disk failed: %v", err)
		case err != nil && driver.KindOf(err) != driver.KindLocal && driver.KindOf(err) != driver.KindConfig:
			e.Errorf("got error %v of kind %v, want kind local", err, driver.KindOf(err))
		}
		if len(e.order()) > 0 {
			e.settle(d)
			e.verify()
			e.forget()
		}
		if e.Failed() {
			e.Fatalf("operation %d of %v failed with %v", n+1, kinds, fault)
		}
	}
	if fired == 0 {
		e.Error("no operation failed")
	}
	e.settle(d)
	e.verify()
}
