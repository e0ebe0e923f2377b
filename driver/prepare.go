package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// verdict says what the worker has to do with a prepared mail.
type verdict uint8

const (
	deliver verdict = iota // call the handler
	fail                   // to the failed directory
	crash                  // the parser panicked
	tooBig                 // refuse for now, as one that cannot be read
	gone                   // forget the record
)

// A prepared mail is durable in the incoming directory and ready to be handed
// over; or it has a verdict against it.
type prepared struct {
	*item
	verdict verdict
	err     error
	reason  string // long form for the reason file
	rec     spool.Record
	ev      *Event
	fresh   bool // its files are in no record yet
	outs    []*spool.Out
	came    <-chan struct{} // as in job
}

// discard removes the files of a mail that was not handed over.
func (s *session) discard(m *prepared) {
	if !m.fresh {
		return
	}
	for _, out := range m.outs {
		_ = out.Abort()
	}
	for _, name := range append(m.rec.Files, m.rec.Raw) {
		if name != "" {
			_ = s.common.Spool.RemoveFile(spool.Incoming, name)
		}
	}
}

func (s *session) discardAll(group []*prepared) {
	for _, m := range group {
		s.discard(m)
	}
}

// A job is a mail for the preparer: one just fetched, one whose files are there
// from a hand-over before, or one that is gone from the server and the spool.
type job struct {
	item *item
	fetched
	again bool
	gone  bool
	// came is closed when the Fetch that the mail came with has ended. Only
	// then it is handed over: a handler that has the session ended, as many do
	// at a shut-down, would cut the Fetch off, and with it the removal of what
	// was handled.
	came <-chan struct{}
}

// A preparer takes the mails apart, in the order they come, and makes them
// durable in groups.
type preparer struct {
	*session
	w    *worker
	jobs chan job      // takes two windows
	took chan struct{} // filled now and again when one was taken
	done chan struct{} // closed when the preparer has ended
	err  error         // why it ended early; valid once done is closed, as is more
	more bool

	group []*prepared
	bytes int          // of body text
	size  int64        // of raw mail
	files *spool.Group // those of the group
	later *landing     // the group before, on its way to the disk; nil if none
}

func newPreparer(s *session, w *worker) *preparer {
	return &preparer{
		session: s, w: w, files: new(spool.Group),
		jobs: make(chan job, 2*windowMails), took: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func (p *preparer) run(ctx context.Context) {
	defer close(p.done)
	err := p.loop(ctx)
	// What came before is good, also if one failed.
	if ferr := p.flush(ctx); err == nil {
		err = ferr
	}
	if lerr := p.land(ctx); err == nil {
		err = lerr
	}
	p.err = err
}

func (p *preparer) loop(ctx context.Context) error {
	for {
		select {
		case <-p.landed():
			if err := p.land(ctx); err != nil {
				p.giveUp() // they come after those that failed
				return err
			}
		case <-p.arrives():
		case <-p.w.done:
			p.giveUp()
			return p.ended(ctx)
		case j, ok := <-p.jobs:
			if !ok {
				return nil
			}
			select {
			case p.took <- struct{}{}:
			default:
			}
			m := p.prepare(j)
			m.came = j.came
			if m.err != nil && m.verdict == deliver {
				p.discard(m)
				return spoolError("parse", p.src.Protocol, m.err)
			}
			if err := p.add(ctx, m); err != nil {
				return err
			}
		}
		if err := p.early(ctx); err != nil {
			return err
		}
	}
}

// leave gives up what was fetched and not prepared. Preparer and fetcher have
// ended.
func (p *preparer) leave() {
	for j := range p.jobs {
		if j.raw != nil {
			_ = j.raw.Abort()
		}
		p.more = true
	}
}

func (p *preparer) prepare(j job) *prepared {
	switch {
	case j.gone:
		return &prepared{item: j.item, verdict: gone}
	case j.again:
		return p.prepareAgain(j.item)
	case j.err != nil:
		return &prepared{item: j.item, verdict: tooBig, err: j.err, rec: spool.Record{EventID: p.eventID(j.item, "")}}
	}
	return p.prepareNew(j.item, j.fetched)
}

// prepareNew parses a mail that was just fetched.
func (p *preparer) prepareNew(it *item, x fetched) *prepared {
	size := it.size
	if size < 0 {
		size = x.size // the listing did not say
	}
	m := &prepared{item: it, fresh: true, outs: []*spool.Out{x.raw}, rec: spool.Record{
		Key: it.key, EventID: p.eventID(it, x.hash), Raw: x.raw.Name(), Size: size, HeaderHash: x.hash,
	}}
	defer p.files.Commit(x.raw) // which may close it
	if p.exhausted(it) {
		return m.exhaust(it)
	}
	p.parse(m, x.raw.Reader, &newFiles{p: p, m: m, msgNo: x.no})
	return m
}

// prepareAgain builds the event of a mail that was handed over before from the
// files it had then.
func (p *preparer) prepareAgain(it *item) *prepared {
	m := &prepared{item: it, rec: it.rec}
	m.rec.Key = it.key
	m.rec.EventID = p.eventID(it, it.rec.HeaderHash)
	if p.exhausted(it) {
		return m.exhaust(it)
	}
	raw := func() (io.ReadCloser, error) { return p.common.Spool.OpenFile(spool.Incoming, m.rec.Raw) }
	old := &oldFiles{s: p.common.Spool, names: it.rec.Files}
	p.parse(m, raw, old)
	if errors.Is(m.err, errOtherFiles) || m.err == nil && m.verdict == deliver && len(old.names) > 0 {
		// A file is missing, or the options changed since: the mail is taken
		// apart anew. The old files stay until a record names the new ones.
		m.rec.Files, m.err, m.verdict = nil, nil, deliver
		p.parse(m, raw, &newFiles{p: p, m: m, msgNo: p.msgNo.Add(1)})
	}
	return m
}

// eventID names the mail: as before if it was handed over before. Where a
// server may use an id again for another mail, the header tells them apart.
func (p *preparer) eventID(it *item, headerHash string) string {
	if it.known && it.rec.EventID != "" {
		return it.rec.EventID
	}
	if _, ok := p.mb.(Fingerprinter); !ok {
		headerHash = ""
	}
	return eventID(p.mailbox, it.key, headerHash)
}

func (p *preparer) exhausted(it *item) bool {
	return it.known && it.rec.State != spool.StateRefused && it.rec.Attempts >= p.set.MaxAttempts
}

func (m *prepared) exhaust(it *item) *prepared {
	m.verdict = fail
	why := "the handler or the parser panicked"
	if it.rec.State == spool.StateEntered {
		why = "the process was killed while the handler had the mail"
	}
	m.err = fmt.Errorf("given up after %d attempts: %s", it.rec.Attempts, why)
	return m
}

// parse builds m.ev. An error with verdict deliver is one of this machine.
func (p *preparer) parse(m *prepared, raw func() (io.ReadCloser, error), files fileMaker) {
	ev := &Event{
		ID: m.rec.EventID, Attempt: 1,
		Profile: p.common.Profile, Protocol: p.src.Protocol, Server: p.src.Server, Account: p.src.Account, Folder: p.src.Folder,
		MailID: m.id, Receiver: p.common.From, Received: time.Now(),
		RawFile: files.path(m.rec.Raw),
	}
	if m.handedOver() {
		ev.Redelivered = true
		ev.Attempt = max(m.item.rec.Attempts+m.item.rec.Errors+1, 2)
	}
	if !p.set.DeleteProcessed {
		ev.ProcessedFile = p.common.Spool.Path(spool.Processed, m.rec.Raw)
	}
	b := newBuilder(&p.set, files, ev)
	defer func() {
		if r := recover(); r != nil {
			b.abort()
			m.verdict = crash
			m.err = fmt.Errorf("the parser panicked: %v", r)
			m.reason = fmt.Sprintf("%v\n\n%s", m.err, debug.Stack())
		}
	}()
	err := p.parseInto(b, raw)
	switch {
	case err == nil:
		m.ev, m.rec.Files = ev, b.names()
	case errors.Is(err, mime.ErrLimit):
		b.abort()
		m.verdict, m.err = fail, fmt.Errorf("the mail cannot be parsed: %w", err)
	default:
		b.abort()
		m.err = err
	}
}

func (p *preparer) parseInto(b *builder, open func() (io.ReadCloser, error)) error {
	raw, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	root, err := mime.Parse(raw, b, mime.WithLimits(p.set.Limits), mime.WithExpansion())
	if err != nil {
		return err
	}
	b.ev.readHeader(root.Header)
	return b.finish(root)
}
