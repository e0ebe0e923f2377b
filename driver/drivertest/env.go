package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// patience bounds every wait of the suite for something that must happen.
const patience = 30 * time.Second

// caseNumber keeps the subjects of all cases of a process apart.
var caseNumber atomic.Int64

// An env is a case at work: its server, its disk, its network, and the ledger
// of what was put in and what was handed over.
type env struct {
	*testing.T
	h    Harness
	srv  *Server
	wire *wire
	disk *disk

	root  string
	spool *spool.Spool
	tag   string

	// repeats allows a mail that the handler took to come again, marked: its
	// "done" may not have reached the disk.
	repeats bool

	mu    sync.Mutex
	made  int // mails made, for their names
	mails []*mail
	seen  []*handover
}

// A handover is one call of the handler.
type handover struct {
	subject     string
	id          string
	redelivered bool
	attempt     int
	raw         string
	files       []string
	answer      error // valid once the handler returned
	returned    bool
}

// taken tells that the handler took the mail.
func (h *handover) taken() bool {
	return h.returned && (h.answer == nil || errors.Is(h.answer, driver.Stop))
}

func newEnv(t *testing.T, h Harness) *env {
	t.Helper()
	srv := h.Start(t)
	if srv == nil || srv.New == nil {
		t.Fatal("drivertest: Harness.Start gave no Server with New")
	}
	e := &env{T: t, h: h, srv: srv, wire: newWire(srv.Dial), tag: fmt.Sprintf("case%d", caseNumber.Add(1))}
	e.restart()
	return e
}

// fresh moves to an empty spool, as on another machine.
func (e *env) fresh() {
	e.Helper()
	e.root = ""
	e.restart()
	e.seen = nil
}

// restart opens the spool anew, as the next process does.
func (e *env) restart() {
	e.Helper()
	if e.root == "" {
		e.root = filepath.Join(e.TempDir(), "spool")
	}
	e.disk = newDisk()
	sp, err := spool.New(e.root, spool.WithFS(e.disk))
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = sp.Close() })
	e.spool = sp
}

// have is what the driver and the server can do.
func (e *env) have() need {
	e.Helper()
	d := e.open()
	c := driver.CapabilitiesOf(d)
	var n need
	for _, x := range []struct {
		yes bool
		n   need
	}{
		{c.Poll, needPoll},
		{!c.Poll, needNoPoll},
		{c.Send, needSend},
		{!c.Send, needNoSend},
		{!e.srv.NoNetwork, needNetwork},
		{e.srv.Sent != nil, needLedger},
		{e.srv.Refused != "", needRefused},
	} {
		if x.yes {
			n |= x.n
		}
	}
	if c.Poll && (e.srv.Add == nil || e.srv.Left == nil) {
		e.Fatal("drivertest: a driver that polls needs Server.Add and Server.Left")
	}
	if c.Send && (e.srv.From == "" || len(e.srv.To) < 2) {
		e.Fatal("drivertest: a driver that sends needs Server.From and two of Server.To")
	}
	return n
}

// open makes a driver on the case's disk and network.
func (e *env) open(opts ...driver.Option) driver.Driver {
	e.Helper()
	base := []driver.Option{driver.WithSpool(e.spool)}
	if !e.srv.NoNetwork {
		base = append(base, driver.WithDialer(e.wire.dial), driver.WithTimeout(patience/2))
	}
	d, err := e.srv.New(append(base, opts...)...)
	if err != nil {
		e.Fatalf("cannot make a driver: %v", err)
	}
	e.Cleanup(func() {
		if err := d.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		if n := e.wire.open(); n > 0 {
			e.Errorf("%d connections are open after Close", n)
		}
	})
	return d
}

// poller makes a driver with short back-off that keeps no raw files.
func (e *env) poller(opts ...driver.Option) driver.Driver {
	e.Helper()
	return e.open(append([]driver.Option{driver.WithRetry(0, 0), driver.WithDeleteProcessed(true)}, opts...)...)
}

// add puts n new mails of some hundred bytes into the mailbox.
func (e *env) add(n int) []*mail {
	e.Helper()
	return e.addSized(n, 300)
}

// addSized puts n new mails with attachments of size bytes into the mailbox.
func (e *env) addSized(n, size int) []*mail {
	e.Helper()
	var list []*mail
	var raw [][]byte
	for range n {
		e.made++
		m := newMail(fmt.Sprintf("%s-%d", e.tag, e.made), size)
		list, raw = append(list, m), append(raw, m.raw)
	}
	e.mu.Lock()
	e.mails = append(e.mails, list...)
	e.mu.Unlock()
	e.srv.Add(raw...)
	return list
}

// A behaviour is what a handler does with a mail.
type behaviour func(ctx context.Context, h *handover) error

func take(context.Context, *handover) error { return nil }

// poll runs one session whose every hand-over is checked and noted.
func (e *env) poll(ctx context.Context, d driver.Driver, do behaviour, opts ...driver.Option) (driver.PollResult, error) {
	e.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.Poll(ctx, driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		h := e.note(ev)
		err := do(ctx, h)
		e.mu.Lock()
		defer e.mu.Unlock()
		h.answer, h.returned = err, true
		return err
	}), opts...)
}

// mustPoll is poll for a session that must not fail.
func (e *env) mustPoll(d driver.Driver, do behaviour, opts ...driver.Option) driver.PollResult {
	e.Helper()
	res, err := e.poll(e.Context(), d, do, opts...)
	if err != nil {
		e.Fatalf("Poll: %v", err)
	}
	return res
}

// settle polls until nothing is left to do. After a cut a server may need a
// moment to end the old session, so errors that may pass are not held against
// the driver for some tries.
func (e *env) settle(d driver.Driver) {
	e.Helper()
	bad := 0
	for range 1000 {
		res, err := e.poll(e.Context(), d, take)
		switch {
		case err != nil && (bad > 5 || !driver.KindOf(err).Retryable()):
			e.Fatalf("the mailbox does not settle: %v", err)
		case err != nil:
			bad++
		case !res.More && res.Waiting == 0 && res.RetryAt.IsZero():
			return
		}
	}
	e.Fatal("the mailbox does not settle: a thousand sessions, and there is always more")
}

// order gives the subjects handed over so far.
func (e *env) order() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []string
	for _, h := range e.seen {
		list = append(list, h.subject)
	}
	return list
}

// handovers gives those of one mail.
func (e *env) handovers(m *mail) []*handover {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []*handover
	for _, h := range e.seen {
		if h.subject == m.subject {
			list = append(list, h)
		}
	}
	return list
}

func subjectsOf(mails []*mail) []string {
	var list []string
	for _, m := range mails {
		list = append(list, m.subject)
	}
	return list
}

func (e *env) wantOrder(want ...string) {
	e.Helper()
	if got := e.order(); !slices.Equal(got, want) {
		e.Errorf("handed over %q, want %q", got, want)
	}
}

func (e *env) wantLeft(want int) {
	e.Helper()
	if got := e.srv.Left(); got != want {
		e.Errorf("%d mails are left on the server, want %d", got, want)
	}
}

// wantError holds an error against a target of errors.Is.
func (e *env) wantError(what string, err, target error) {
	e.Helper()
	if !errors.Is(err, target) {
		e.Errorf("%s: got error %v, want one that is %q", what, err, target)
	}
}

// wantKind holds an error's kind against some.
func (e *env) wantKind(what string, err error, want ...driver.Kind) {
	e.Helper()
	if err == nil || !slices.Contains(want, driver.KindOf(err)) {
		e.Errorf("%s: got error %v of kind %v, want kind %v", what, err, driver.KindOf(err), want)
	}
}

// files lists a directory of the spool.
func (e *env) files(kind spool.Kind) []string {
	e.Helper()
	var names []string
	err := filepath.WalkDir(e.spool.Dir(kind), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Fatal(err)
	}
	return names
}

// wait returns when c is closed, and fails the case if that takes too long.
func (e *env) wait(c <-chan struct{}, what string) {
	e.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		e.Fatalf("%s: nothing within %v", what, patience)
	}
}

// readFile reads a file that must be there.
func (e *env) readFile(path string) []byte {
	e.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		e.Error(err)
	}
	return b
}

func base(paths []string) string {
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return strings.Join(names, " ")
}
