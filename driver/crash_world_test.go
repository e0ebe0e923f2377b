package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

// simRoot is where the spool lies on the simulated disk.
var simRoot = filepath.Join(string(filepath.Separator), "sim", "spool")

// A simWorld is a mailbox, a simulated disk and a host whose journal survives everything. It runs the pipeline again
// and again, through power cuts and faults, and collects whatever breaks the promise.
type simWorld struct {
	disk   *simdisk.Disk
	ledger *ledger
	set    driver.InboundSettings
	// via, if set, polls instead of the pipeline on the ledger.
	via func() (driver.PollResult, error)
	// wrap, if set, goes around each mailbox: a guard switched off, or a server with a will of its own.
	wrap func(driver.Mailbox) driver.Mailbox

	// inside, if set, runs in the next handler.
	inside func()

	in    *driver.Inbound
	spool *spool.Spool

	mu         sync.Mutex
	fates      map[string]*fate // by subject
	order      []string         // subjects as the server lists them
	ends       int              // power cuts and kills so far
	repeats    int              // hand-overs of a mail that may have been finished before
	entries    int
	runs       int
	lastFirst  int // place of the last mail that was entered for the first time in this run
	violations []string
}

// fate is what the host's journal knows of one mail.
type fate struct {
	subject  string
	raw      string
	kind     string
	place    int
	entered  int
	finished bool // the host did its work, whether or not the pipeline came to know
	ended    end  // how the last hand-over ended
	id       string
	files    []string
	bodies   []string
	removed  bool // the server let it go
}

type end uint8

const (
	endNone    end = iota
	endNil         // returned nil
	endError       // returned an error or panicked, and the process lived on
	endUnknown     // the process died in it, or right behind it
)

func (w *simWorld) violate(format string, args ...any) {
	if len(w.violations) < 20 {
		w.violations = append(w.violations, fmt.Sprintf(format, args...))
	}
}

func newSimWorld(seed uint64, kinds ...string) *simWorld {
	w := &simWorld{
		disk: simdisk.New(seed), in: driver.NewInbound(), set: driver.NewInboundSettings(), fates: map[string]*fate{},
	}
	w.ledger = &ledger{w: w}
	w.set.RetryMin, w.set.RetryMax = 0, 0
	w.set.MaxAttempts = 1000
	w.set.BatchSize = 100
	w.set.Limits.Depth = 4 // "broken" mails are deeper
	for _, k := range kinds {
		w.add(k)
	}
	w.restart()
	return w
}

// add puts a mail on the server. The kind says what the host makes of it.
func (w *simWorld) add(kind string) *fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.order)
	f := &fate{subject: fmt.Sprintf("m%d-%s", n, kind), kind: kind, place: n}
	switch {
	case strings.HasPrefix(kind, "att"):
		f.raw = withAttachment(f.subject)
	case strings.HasPrefix(kind, "broken"):
		f.raw = "Subject: " + f.subject + "\r\n" + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 8)
	default:
		f.raw = mail(f.subject, "body of "+f.subject)
	}
	if !strings.HasPrefix(kind, "loop") {
		f.raw = strings.Replace(f.raw, "From: Ann", "From: Ann"+fmt.Sprint(n), 1)
		f.raw = strings.Replace(strings.Replace(f.raw, "<Ann@", fmt.Sprintf("<ann%d@", n), 1), "<ann@", fmt.Sprintf("<ann%d@", n), 1)
	}
	w.fates[f.subject] = f
	w.order = append(w.order, f.subject)
	w.ledger.list = append(w.ledger.list, f)
	return f
}

// restart begins a new process.
func (w *simWorld) restart() {
	sp, err := spool.New(simRoot, spool.WithFS(w.disk))
	if err != nil {
		panic(err)
	}
	w.spool = sp
}

// poll runs one session.
func (w *simWorld) poll() (driver.PollResult, error) {
	w.mu.Lock()
	w.runs++
	w.lastFirst = -1
	w.mu.Unlock()
	if w.via != nil {
		return w.via()
	}
	c := driver.NewCommon()
	c.Spool = w.spool
	src := driver.Source{Protocol: "POP3", Server: "pop.example.com", Account: "u"}
	src.Open = func(context.Context) (driver.Mailbox, error) {
		if w.disk.Down() {
			return nil, simdisk.ErrDown
		}
		var mb driver.Mailbox = &ledgerBox{l: w.ledger}
		if w.wrap != nil {
			mb = w.wrap(mb)
		}
		return mb, nil
	}
	return w.in.Poll(context.Background(), src, c, w.set, driver.HandlerFunc(w.handle))
}

var errHost = errors.New("the host's database is down")

// handle is the host. Each step of it is a moment at which the power can go.
func (w *simWorld) handle(_ context.Context, ev *driver.Event) error {
	if w.disk.Down() {
		return simdisk.ErrDown // the process is dead, this call is none
	}
	f := w.enter(ev)
	if f == nil {
		return nil
	}
	if err := w.disk.Step("handler entered"); err != nil {
		return err
	}
	if w.inside != nil {
		w.inside()
	}
	err := w.decide(f)
	if err == nil || errors.Is(err, driver.Stop) {
		w.mu.Lock()
		f.finished = true
		w.mu.Unlock()
	}
	if down := w.disk.Step("handler returns"); down != nil {
		return down
	}
	w.mu.Lock()
	f.ended = endError
	if f.finished {
		f.ended = endNil
	}
	w.mu.Unlock()
	if strings.HasPrefix(f.kind, "panic") && !f.finished {
		panic("the host's handler is broken")
	}
	return err
}

// decide gives what the handler returns. Troublesome kinds are well behaved from the third time on.
func (w *simWorld) decide(f *fate) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case strings.HasPrefix(f.kind, "reject"):
		return driver.Reject(errors.New("not for us"))
	case (strings.HasPrefix(f.kind, "refuse") || strings.HasPrefix(f.kind, "panic")) && f.entered < 3:
		return errHost
	case strings.HasPrefix(f.kind, "stop"):
		return driver.Stop
	}
	return nil
}

// enter is the witness: it holds each hand-over against what was promised.
func (w *simWorld) enter(ev *driver.Event) *fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.fates[ev.Subject]
	if f == nil {
		w.violate("an event nobody sent: %q", ev.Subject)
		return nil
	}
	w.entries++
	f.entered++
	if f.entered > 1 {
		if !ev.Redelivered {
			w.violate("%s: handed over %d times, this time unmarked", f.subject, f.entered)
		}
		if f.ended != endError {
			w.repeats++
			if w.repeats > w.ends {
				w.violate("%s: repeat %d after %d crashes", f.subject, w.repeats, w.ends)
			}
		}
		if ev.ID != f.id {
			w.violate("%s: id %s became %s", f.subject, f.id, ev.ID)
		}
	} else if f.place < w.lastFirst {
		w.violate("%s: handed over after mail %d of the listing", f.subject, w.lastFirst)
	} else {
		w.lastFirst = f.place
	}
	f.ended = endUnknown
	if b, ok := w.disk.ReadFile(ev.RawFile); !w.disk.Down() && (!ok || string(b) != f.raw) {
		w.violate("%s: raw file has %d bytes, the mail %d", f.subject, len(b), len(f.raw))
	}
	if !w.disk.Durable(ev.RawFile) && !w.disk.Down() {
		w.violate("%s: raw file handed over before it was durable", f.subject)
	}
	var files, bodies []string
	for _, x := range ev.Files {
		files = append(files, x.Path)
		b, ok := w.disk.ReadFile(x.Path)
		if !w.disk.Down() && (!ok || int64(len(b)) != x.Size || len(b) == 0) {
			w.violate("%s: %s has %d bytes of %d", f.subject, filepath.Base(x.Path), len(b), x.Size)
		}
		if !w.disk.Durable(x.Path) && !w.disk.Down() {
			w.violate("%s: %s handed over before it was durable", f.subject, filepath.Base(x.Path))
		}
		bodies = append(bodies, string(b))
	}
	if f.entered > 1 && !slices.Equal(f.files, files) {
		w.violate("%s: files %v became %v", f.subject, f.files, files)
	}
	f.id, f.files, f.bodies = ev.ID, files, bodies
	return f
}

// safe reports where a mail is for good, apart from the server: the host has it, or it is durable in failed or loopback.
func (w *simWorld) safe(f *fate) string {
	if f.finished {
		return "delivered"
	}
	for _, kind := range []spool.Kind{spool.Failed, spool.Loopback} {
		for _, path := range w.filesIn(kind) {
			if b, _ := w.disk.ReadFile(path); string(b) == f.raw && w.disk.Durable(path) {
				return kind.String()
			}
		}
	}
	return ""
}

func (w *simWorld) filesIn(kind spool.Kind) []string {
	var list []string
	dir := w.spool.Dir(kind)
	for _, p := range w.disk.Files() {
		if filepath.Dir(p) == dir {
			list = append(list, p)
		}
	}
	return list
}

// crashed starts the machine again and looks at what is left.
func (w *simWorld) crashed() {
	w.disk.Reboot()
	w.mu.Lock()
	w.ends++
	for _, s := range w.order {
		f := w.fates[s]
		if f.removed && w.safe(f) == "" {
			w.violate("%s: lost: the server let it go and no place has it", f.subject)
		}
		w.checkFiles(f)
	}
	w.mu.Unlock()
	w.restart()
}

// checkFiles makes sure that the files of a finished mail are still the host's.
func (w *simWorld) checkFiles(f *fate) {
	if f.entered == 0 || strings.HasPrefix(f.kind, "reject") {
		return
	}
	for i, p := range f.files {
		if b, ok := w.disk.ReadFile(p); !ok || string(b) != f.bodies[i] {
			w.violate("%s: %s was taken from the host", f.subject, filepath.Base(p))
		}
	}
}

// converge polls until nothing is left to do, then looks for anything that should not be there.
func (w *simWorld) converge() {
	w.disk.Heal()
	quiet := 0
	for range 60 {
		res, err := w.poll()
		if w.disk.Down() {
			w.crashed()
			continue
		}
		if err != nil && !errors.Is(err, errHost) && !errors.Is(err, errServer) {
			w.violate("run %d after the fault was healed: %v", w.runs, err)
			return
		}
		if err == nil && !res.More && res.Delivered+res.Failed+res.Diverted+res.Refused+res.Waiting == 0 {
			if quiet++; quiet == 2 {
				w.final()
				return
			}
		}
	}
	w.violate("no end of work after %d runs", w.runs)
}

// final is the ledger's audit.
func (w *simWorld) final() {
	w.disk.CutPowerAt(0)
	if n := w.disk.OpenFiles(); n != 0 && w.ends == 0 {
		w.violate("%d files were left open", n)
	}
	allowed := map[string]bool{}
	copies := map[spool.Kind]map[string]int{spool.Processed: {}, spool.Failed: {}, spool.Loopback: {}}
	for kind, count := range copies {
		for _, p := range w.filesIn(kind) {
			b, _ := w.disk.ReadFile(p)
			if strings.HasSuffix(p, ".part") {
				continue // Sweep takes it, see below
			}
			if strings.HasSuffix(p, ".reason") {
				if len(b) == 0 {
					w.violate("%s is empty", p)
				}
				continue
			}
			count[string(b)]++
		}
	}
	for _, s := range w.order {
		f := w.fates[s]
		where := w.safe(f)
		if where == "" {
			w.violate("%s: not delivered, not failed, not diverted, and nothing left to do", f.subject)
		}
		if !w.set.LeaveOnServer && !f.removed {
			w.violate("%s: still on the server", f.subject)
		}
		w.checkFiles(f)
		want := map[spool.Kind]int{}
		switch {
		case where == "delivered" && !w.set.DeleteProcessed:
			want[spool.Processed] = 1
		case where == "failed":
			want[spool.Failed] = 1
		case where == "loopback":
			want[spool.Loopback] = 1
		}
		for kind, count := range copies {
			if count[f.raw] != want[kind] {
				w.violate("%s (%s): %d copies in %s, want %d", f.subject, where, count[f.raw], kind, want[kind])
			}
			delete(count, f.raw)
		}
		if where == "delivered" {
			for _, p := range f.files {
				allowed[p] = true
			}
		}
	}
	for kind, count := range copies {
		for body, n := range count {
			w.violate("%d strange files in %s: %.40q", n, kind, body)
		}
	}
	for _, p := range w.filesIn(spool.Incoming) {
		if !allowed[p] && !strings.HasPrefix(filepath.Base(p), "Probe_") {
			w.violate("stray file %s", p)
		}
	}
	if _, err := w.spool.Sweep(false); err != nil {
		w.violate("sweep: %v", err)
	}
	for _, p := range w.disk.Files() {
		name := filepath.Base(p)
		switch dir := filepath.Dir(p); {
		case strings.HasSuffix(name, ".part"), strings.HasPrefix(name, "Probe_"), strings.HasSuffix(name, ".lock"):
			w.violate("left behind: %s", p)
		case dir == w.spool.Dir(spool.Incoming) && !allowed[p]:
			w.violate("stray file %s after a sweep", p)
		case strings.Contains(name, ".ids.corrupt-"): // the torn end of a record is kept for people to look at
		case dir == w.spool.Dir(spool.Root) && strings.HasPrefix(name, "Current_"):
			w.violate("%s outlives a confirmed session", name)
		case dir == w.spool.Dir(spool.Root) && strings.HasPrefix(name, "Previous_") && strings.HasSuffix(name, ".ids") && !w.set.LeaveOnServer:
			w.violate("%s outlives the mails it names", name)
		}
	}
}

var errServer = errors.New("the server dropped the connection")

// A ledger is a mail server that remembers what it let go, and asks at that moment whether the mail is safe.
type ledger struct {
	w    *simWorld
	list []*fate
	// atOnce makes Remove final without Commit, as with IMAP's MOVE.
	atOnce bool
	// loses says of the nth Commit whether it fails, and whether it took effect all the same.
	loses   func(n int) (fails, effect bool)
	commits int
}

func (l *ledger) letGo(ids []driver.ID) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.w.disk.Down() {
		return
	}
	l.list = slices.DeleteFunc(l.list, func(f *fate) bool {
		if !slices.Contains(ids, driver.ID(f.subject)) {
			return false
		}
		f.removed = true
		if l.w.safe(f) == "" {
			l.w.violate("%s: removed from the server while nothing else had it", f.subject)
		}
		return true
	})
}

type ledgerBox struct {
	l    *ledger
	gone []driver.ID
}

func (b *ledgerBox) up() error {
	if b.l.w.disk.Down() {
		return simdisk.ErrDown
	}
	return nil
}

func (b *ledgerBox) List(context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		b.l.w.mu.Lock()
		list := slices.Clone(b.l.list)
		b.l.w.mu.Unlock()
		for _, f := range list {
			if !yield(driver.Entry{ID: driver.ID(f.subject), Size: int64(len(f.raw))}, b.up()) {
				return
			}
		}
	}
}

func (b *ledgerBox) Fetch(_ context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	for _, id := range ids {
		b.l.w.mu.Lock()
		f := b.l.w.fates[string(id)]
		there := slices.Contains(b.l.list, f)
		b.l.w.mu.Unlock()
		if err := b.up(); err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := put(id, strings.NewReader(f.raw)); err != nil {
			return err
		}
	}
	return nil
}

func (b *ledgerBox) Remove(_ context.Context, ids []driver.ID) error {
	if err := b.up(); err != nil {
		return err
	}
	if b.l.atOnce {
		b.l.letGo(ids)
		return nil
	}
	b.gone = append(b.gone, ids...)
	return nil
}

func (b *ledgerBox) Commit(context.Context) error {
	if err := b.l.w.disk.Step("commit"); err != nil {
		return err
	}
	b.l.commits++
	fails, effect := false, true
	if b.l.loses != nil {
		fails, effect = b.l.loses(b.l.commits)
	}
	if effect {
		b.l.letGo(b.gone)
	}
	if fails {
		return errServer
	}
	if err := b.l.w.disk.Step("committed"); err != nil {
		return err
	}
	return nil
}

func (b *ledgerBox) Close() error { return nil }

// loopbackOn is the setting under which "loop" mails block each other.
func loopbackOn(w *simWorld) { w.set.LoopbackInterval = 24 * time.Hour }
