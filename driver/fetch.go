package driver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime/debug"
	"time"

	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// A group of mails is made durable together and handed to the worker as one.
// Four can be in memory: one that the worker has, one waiting, one on its way to
// the disk, one being made.
const (
	groupMails = 32
	groupFiles = 56      // with those of one more mail below spool.MaxGroupFiles, as a rule
	groupBytes = 4 << 20 // of body text
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
}

// work hands the batch over. The session's goroutine fetches and parses ahead,
// the worker's calls the handler and writes the records.
func (s *session) work(ctx context.Context, batch []*item) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.begin(); err != nil {
		return &noCommitError{err}
	}
	w := &worker{session: s, queue: make(chan []*prepared, 1), done: make(chan struct{})}
	go w.run(ctx)
	keep := time.NewTicker(keepAliveEvery)
	defer keep.Stop()
	f := &feeder{session: s, w: w, keep: keep, files: new(spool.Group)}
	feedErr := f.feed(ctx, batch)
	if errors.Is(feedErr, errWorkerEnded) {
		feedErr = nil
	}
	close(w.queue)
	for waiting := true; waiting; {
		select {
		case <-w.done:
			waiting = false
		case <-keep.C:
			f.keepAlive(ctx)
		}
	}
	w.leave()
	s.res.Gone += f.gone
	s.res.More = s.res.More || f.more
	if feedErr == nil && f.dead != nil {
		feedErr = &noCommitError{f.dead}
	}
	return s.sumUp(feedErr, w.err)
}

// sumUp makes one error of what the two halves ran into. What stopped the
// worker says more than what stopped the feeder, but a connection that is out
// of step must not be committed in any case.
func (s *session) sumUp(feedErr, workErr error) error {
	broken := errors.As(feedErr, new(*noCommitError))
	if errors.Is(feedErr, errDropped) {
		s.res.More = true
		feedErr = nil // the mail's own failure is in the result
	}
	err := workErr
	switch {
	case errors.Is(workErr, errStop):
		err = nil
	case workErr == nil:
		err = feedErr
	}
	if broken && !errors.As(err, new(*noCommitError)) {
		err = &noCommitError{err}
	}
	return err
}

// errDropped says that the connection had to be given up for a mail that is
// too big; what follows it comes with the next session.
var errDropped = errors.New("connection dropped")

// discard removes the files of a mail that was not handed over.
func (s *session) discard(p *prepared) {
	if !p.fresh {
		return
	}
	for _, out := range p.outs {
		_ = out.Abort()
	}
	for _, name := range append(p.rec.Files, p.rec.Raw) {
		if name != "" {
			_ = s.common.Spool.RemoveFile(spool.Incoming, name)
		}
	}
}

// A feeder runs on the session's goroutine: it owns the Mailbox.
type feeder struct {
	*session
	w     *worker
	keep  *time.Ticker
	dead  error // keep-alive failed
	gone  int
	more  bool
	group []*prepared
	bytes int
	files *spool.Group // those of the group
	later *landing     // the group before, on its way to the disk; nil if none

	copyBuf []byte
}

// A landing is a group whose files are being made durable while the next one is
// fetched and parsed.
type landing struct {
	group []*prepared
	done  chan struct{}
	err   error // valid once done is closed, as is taken
	taken bool  // by the worker
}

func (f *feeder) keepAlive(ctx context.Context) {
	k, ok := f.mb.(KeepAliver)
	if !ok || f.dead != nil || ctx.Err() != nil {
		return
	}
	if err := k.KeepAlive(ctx); err != nil {
		f.dead = f.wrap("keep-alive", err)
	}
}

func (f *feeder) feed(ctx context.Context, batch []*item) error {
	for len(batch) > 0 {
		n := window(batch)
		err := f.chunk(ctx, batch[:n])
		if ferr := f.flush(ctx); err == nil {
			err = ferr
		}
		if err != nil {
			_ = f.land(ctx) // what came before is good; its own failure shows again
			return err
		}
		batch = batch[n:]
	}
	return f.land(ctx)
}

// window counts the mails to fetch in one go.
func window(batch []*item) int {
	var sum int64
	for i, it := range batch {
		if i > 0 && (i == windowMails || sum+max(it.size, 0) > windowBytes) {
			return i
		}
		sum += max(it.size, 0)
	}
	return len(batch)
}

// fetched is what one RETR left behind.
type fetched struct {
	raw  *spool.Out
	hash string
	size int64 // of the raw mail
	no   uint64
	err  error // the mail is too big, or cannot be read
	lone bool  // the session goes on
}

func (f *feeder) chunk(ctx context.Context, items []*item) error {
	var ids []ID
	need := make(map[ID]bool)
	for _, it := range items {
		there, err := f.filesPresent(it)
		if err != nil {
			return err
		}
		if it.onDisk = there; it.onList && !there {
			ids = append(ids, it.id)
			need[it.id] = true
		}
	}
	got := make(map[ID]fetched)
	defer func() {
		for _, x := range got { // what was not prepared
			if x.raw != nil {
				_ = x.raw.Abort()
			}
		}
	}()
	var fetchErr error
	if len(ids) > 0 {
		if f.dead != nil {
			return &noCommitError{f.dead}
		}
		fetchErr = f.mb.Fetch(ctx, ids, func(id ID, r io.Reader) error {
			x, err := f.save(r)
			if err == nil || x.err != nil {
				got[id] = x
			}
			return err
		})
		if fetchErr != nil {
			fetchErr = &noCommitError{f.wrap("fetch", fetchErr)}
		}
	}
	for _, it := range items {
		x, ok := got[it.id]
		var p *prepared
		switch {
		case ok && x.err != nil:
			p = &prepared{item: it, verdict: tooBig, err: x.err, rec: spool.Record{EventID: f.eventID(it, "")}}
			if !x.lone {
				fetchErr = &noCommitError{errDropped}
			}
		case ok:
			delete(got, it.id)
			p = f.prepareNew(it, x)
		case need[it.id] && fetchErr != nil:
			return fetchErr // this one and what follows was not fetched
		case need[it.id], !it.onDisk:
			if !it.known {
				f.gone++
				continue
			}
			p = &prepared{item: it, verdict: gone}
		default:
			p = f.prepareAgain(it)
		}
		if p.err != nil && p.verdict == deliver {
			f.discard(p)
			return spoolError("parse", f.src.Protocol, p.err)
		}
		if err := f.add(ctx, p); err != nil {
			if fetchErr != nil {
				return fetchErr // the connection is out of step
			}
			return err
		}
	}
	return fetchErr
}

// add puts a mail into the group that is made durable together.
func (f *feeder) add(ctx context.Context, p *prepared) error {
	f.group = append(f.group, p)
	if p.ev != nil {
		f.bytes += len(p.ev.Text) + len(p.ev.HTML)
	}
	if len(f.group) >= groupMails || f.files.Len() >= groupFiles || f.bytes >= groupBytes {
		return f.flush(ctx)
	}
	return nil
}

// flush sends the group on its way to the disk, after the one before has arrived
// there and was handed to the worker.
func (f *feeder) flush(ctx context.Context) error {
	group, files := f.group, f.files
	f.group, f.bytes, f.files = nil, 0, new(spool.Group)
	if err := f.land(ctx); err != nil {
		_ = files.Wait()
		f.discardAll(group)
		return err
	}
	if len(group) == 0 {
		_ = files.Wait() // at most files of a mail that was given up
		return nil
	}
	l := &landing{group: group, done: make(chan struct{})}
	f.later = l
	go func() {
		defer close(l.done)
		// One sync of the directory makes all their names durable.
		if l.err = files.Wait(); l.err == nil {
			l.err = f.common.Spool.SyncDir(spool.Incoming)
		}
		if l.err == nil {
			l.taken = f.push(ctx, group)
		}
	}()
	return nil
}

// land waits until the group on its way is durable and hands it to the worker.
func (f *feeder) land(ctx context.Context) error {
	l := f.later
	if l == nil {
		return nil
	}
	f.later = nil
	for waiting := true; waiting; {
		select {
		case <-l.done:
			waiting = false
		case <-f.keep.C:
			f.keepAlive(ctx)
		}
	}
	if l.err != nil {
		f.discardAll(l.group)
		return spoolError("sync", f.src.Protocol, l.err)
	}
	if !l.taken {
		f.discardAll(l.group)
		return f.ended(ctx)
	}
	return nil
}

func (s *session) discardAll(group []*prepared) {
	for _, p := range group {
		s.discard(p)
	}
}

// errWorkerEnded stops the feeder; the worker says why.
var errWorkerEnded = errors.New("the worker has ended")

func (f *feeder) ended(ctx context.Context) error {
	f.more = true
	if err := ctx.Err(); err != nil {
		return &Error{Op: "poll", Driver: f.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	return errWorkerEnded
}

func (f *feeder) push(ctx context.Context, group []*prepared) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-f.w.done:
			return false
		default:
		}
		select {
		case f.w.queue <- group:
			return true
		case <-ctx.Done():
			return false
		case <-f.w.done:
			return false
		}
	}
}

// save streams one mail into the incoming directory. Its bytes are on their
// way to the disk afterwards; flush waits for them.
//
// A reader with a method Size() int64 knows the size beforehand, so that a mail
// that is too big costs nothing.
func (f *feeder) save(r io.Reader) (fetched, error) {
	if sized, ok := r.(interface{ Size() int64 }); ok && sized.Size() > f.set.MaxMessageBytes {
		err := f.tooBig()
		return fetched{err: err}, err
	}
	f.msgNo++
	raw, err := f.common.Spool.CreateIncoming(f.svc, f.src.Protocol, f.msgNo)
	if err != nil {
		return fetched{}, spoolError("create", f.src.Protocol, err)
	}
	h := newHeaderHash()
	if f.copyBuf == nil {
		f.copyBuf = make([]byte, 32<<10)
	}
	n, err := io.CopyBuffer(raw, io.TeeReader(io.LimitReader(r, max(f.set.MaxMessageBytes, f.set.MaxMessageBytes+1)), h), f.copyBuf)
	if err == nil && n > f.set.MaxMessageBytes {
		_ = raw.Abort()
		err = f.tooBig()
		return fetched{err: err}, err
	}
	if err == nil {
		err = raw.Flush()
	}
	if unreadable, ok := errors.AsType[*UnreadableError](err); ok {
		_ = raw.Abort()
		return fetched{err: f.wrap("fetch", unreadable), lone: true}, nil
	}
	if err != nil {
		_ = raw.Abort()
		if _, ok := errors.AsType[*Error](err); !ok {
			err = f.wrapSave(err)
		}
		return fetched{}, err
	}
	return fetched{raw: raw, hash: h.sum(), size: n, no: f.msgNo}, nil
}

func (f *feeder) tooBig() error {
	return &Error{Op: "fetch", Driver: f.src.Protocol, Kind: KindPermanent, Err: fmt.Errorf("%w: the mail is longer than %d bytes", ErrLimit, f.set.MaxMessageBytes)}
}

// wrapSave tells an error of the disk from one of the connection.
func (f *feeder) wrapSave(err error) error {
	if _, ok := errors.AsType[*spool.FileError](err); ok {
		return spoolError("save", f.src.Protocol, err)
	}
	return f.wrap("fetch", err)
}

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

// newFiles makes the files of an event in the incoming directory, as part of
// the group.
type newFiles struct {
	f     *feeder
	p     *prepared
	msgNo uint64
	n     uint64
}

func (n *newFiles) attachment() (outFile, error) {
	n.n++
	return n.file(n.f.common.Spool.CreateAttachment(n.f.svc, n.msgNo, n.n))
}

func (n *newFiles) originalText() (outFile, error) {
	return n.file(n.f.common.Spool.CreateOriginalText(n.f.svc, n.msgNo, n.n))
}

func (n *newFiles) file(out *spool.Out, err error) (outFile, error) {
	if err != nil {
		return nil, err
	}
	n.p.outs = append(n.p.outs, out)
	return groupFile{out, n.f}, nil
}

func (n *newFiles) path(name string) string { return n.f.common.Spool.Path(spool.Incoming, name) }
func (n *newFiles) remove(name string)      { _ = n.f.common.Spool.RemoveFile(spool.Incoming, name) }

// A groupFile becomes durable with its group, not by itself.
type groupFile struct {
	*spool.Out
	f *feeder
}

// Commit begins to make the file durable.
func (g groupFile) Commit() error {
	if err := g.Flush(); err != nil {
		return err
	}
	g.f.files.Commit(g.Out)
	return nil
}

// oldFiles hands out the files that an earlier hand-over made, in their order,
// and writes nothing.
type oldFiles struct {
	s     *spool.Spool
	names []string
}

var errOtherFiles = errors.New("the mail has other files than before")

func (o *oldFiles) attachment() (outFile, error)   { return o.next() }
func (o *oldFiles) originalText() (outFile, error) { return o.next() }
func (o *oldFiles) path(name string) string        { return o.s.Path(spool.Incoming, name) }
func (o *oldFiles) remove(string)                  {} // they are in a record

func (o *oldFiles) next() (outFile, error) {
	if len(o.names) == 0 {
		return nil, errOtherFiles
	}
	name := o.names[0]
	o.names = o.names[1:]
	file, err := o.s.OpenFile(spool.Incoming, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errOtherFiles // the host deleted it
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return &oldFile{name: name, size: size}, nil
}

// An oldFile counts what would have been written: other bytes make another
// file.
type oldFile struct {
	name       string
	size, have int64
}

func (f *oldFile) Write(p []byte) (int, error) { f.have += int64(len(p)); return len(p), nil }
func (f *oldFile) Abort() error                { return nil }
func (f *oldFile) Name() string                { return f.name }

func (f *oldFile) Commit() error {
	if f.have != f.size {
		return errOtherFiles
	}
	return nil
}

// A headerHash hashes a header block: its lines without their line ends, up to
// the empty line, so that RETR and TOP give the same.
type headerHash struct {
	h    hash.Hash
	line []byte
	n    int
	done bool
}

// maxHeaderHashBytes is as much of a header as counts.
const maxHeaderHashBytes = 64 << 10

func newHeaderHash() *headerHash { return &headerHash{h: sha256.New()} }

func (h *headerHash) Write(p []byte) (int, error) {
	for rest := p; !h.done && len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			h.take(rest)
			break
		}
		h.take(rest[:i])
		rest = rest[i+1:]
		h.endLine()
	}
	return len(p), nil
}

func (h *headerHash) take(b []byte) {
	room := maxHeaderHashBytes - h.n
	h.line = append(h.line, b[:min(len(b), room)]...)
	h.n += min(len(b), room)
	h.done = h.n >= maxHeaderHashBytes
}

func (h *headerHash) endLine() {
	line := bytes.TrimRight(h.line, "\r")
	if len(line) == 0 {
		h.done = true
		return
	}
	h.h.Write(line)
	h.h.Write([]byte{'\n'})
	h.line = h.line[:0]
}

func (h *headerHash) sum() string {
	if !h.done && len(h.line) > 0 {
		h.endLine()
	}
	return hex.EncodeToString(h.h.Sum(nil))
}

func hashHeader(r io.Reader) (string, error) {
	h := newHeaderHash()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return h.sum(), nil
}
