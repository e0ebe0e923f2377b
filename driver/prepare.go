package driver

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// prepareNew parses a mail that was just fetched.
func (f *feeder) prepareNew(it *item, x fetched) *prepared {
	size := it.size
	if size < 0 {
		size = x.size // the listing did not say
	}
	p := &prepared{item: it, fresh: true, outs: []*spool.Out{x.raw}, rec: spool.Record{
		Key: it.key, EventID: f.eventID(it, x.hash), Raw: x.raw.Name(), Size: size, HeaderHash: x.hash,
	}}
	f.files.Commit(x.raw)
	if f.exhausted(it) {
		return p.exhaust(it)
	}
	f.parse(p, x.raw.Open, &newFiles{f: f, p: p, msgNo: x.no})
	return p
}

// prepareAgain builds the event of a mail that was handed over before from the
// files it had then.
func (f *feeder) prepareAgain(it *item) *prepared {
	p := &prepared{item: it, rec: it.rec}
	p.rec.Key = it.key
	p.rec.EventID = f.eventID(it, it.rec.HeaderHash)
	if f.exhausted(it) {
		return p.exhaust(it)
	}
	raw := func() (spool.File, error) { return f.common.Spool.OpenFile(spool.Incoming, p.rec.Raw) }
	old := &oldFiles{s: f.common.Spool, names: it.rec.Files}
	f.parse(p, raw, old)
	if errors.Is(p.err, errOtherFiles) || p.err == nil && p.verdict == deliver && len(old.names) > 0 {
		// A file is missing, or the options changed since: the mail is taken
		// apart anew. The old files stay until a record names the new ones.
		f.msgNo++
		p.rec.Files, p.err, p.verdict = nil, nil, deliver
		f.parse(p, raw, &newFiles{f: f, p: p, msgNo: f.msgNo})
	}
	return p
}

// eventID names the mail: as before if it was handed over before. Where a
// server may use an id again for another mail, the header tells them apart.
func (f *feeder) eventID(it *item, headerHash string) string {
	if it.known && it.rec.EventID != "" {
		return it.rec.EventID
	}
	if _, ok := f.mb.(Fingerprinter); !ok {
		headerHash = ""
	}
	return eventID(f.mailbox, it.key, headerHash)
}

func (f *feeder) exhausted(it *item) bool {
	return it.known && it.rec.State != spool.StateRefused && it.rec.Attempts >= f.set.MaxAttempts
}

func (p *prepared) exhaust(it *item) *prepared {
	p.verdict = fail
	why := "the handler or the parser panicked"
	if it.rec.State == spool.StateEntered {
		why = "the process was killed while the handler had the mail"
	}
	p.err = fmt.Errorf("given up after %d attempts: %s", it.rec.Attempts, why)
	return p
}

// parse builds p.ev. An error with verdict deliver is one of this machine.
func (f *feeder) parse(p *prepared, raw func() (spool.File, error), files fileMaker) {
	ev := &Event{
		ID: p.rec.EventID, Attempt: 1,
		Profile: f.common.Profile, Protocol: f.src.Protocol, Server: f.src.Server, Account: f.src.Account, Folder: f.src.Folder,
		MailID: p.id, Receiver: f.common.From, Received: time.Now(),
		RawFile: files.path(p.rec.Raw),
	}
	if p.handedOver() {
		ev.Redelivered = true
		ev.Attempt = max(p.item.rec.Attempts+p.item.rec.Errors+1, 2)
	}
	if !f.set.DeleteProcessed {
		ev.ProcessedFile = f.common.Spool.Path(spool.Processed, p.rec.Raw)
	}
	b := newBuilder(&f.set, files, ev)
	defer func() {
		if r := recover(); r != nil {
			b.abort()
			p.verdict = crash
			p.err = fmt.Errorf("the parser panicked: %v", r)
			p.reason = fmt.Sprintf("%v\n\n%s", p.err, debug.Stack())
		}
	}()
	err := f.parseInto(b, raw)
	switch {
	case err == nil:
		p.ev, p.rec.Files = ev, b.names()
	case errors.Is(err, mime.ErrLimit):
		b.abort()
		p.verdict, p.err = fail, fmt.Errorf("the mail cannot be parsed: %w", err)
	default:
		b.abort()
		p.err = err
	}
}

func (f *feeder) parseInto(b *builder, open func() (spool.File, error)) error {
	raw, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	root, err := mime.Parse(raw, b, mime.WithLimits(f.set.Limits), mime.WithExpansion())
	if err != nil {
		return err
	}
	b.ev.readHeader(root.Header)
	return b.finish(root)
}
