package imap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// An idler is a connection that waits for the server's word of new mail. It
// outlives a Wait that was ended by its context, so that the next one goes on
// where it was: the server keeps telling it in between.
type idler struct {
	s      *session
	folder string
	tag    string // of the IDLE at work; "" if none is
	since  time.Time
}

// Wait implements [driver.Waiter] with IDLE (RFC 2177). It returns nil when
// there is mail that the latest Poll did not list, also if it came before the
// call; the end of ctx as its error; and one that errors.Is
// errors.ErrUnsupported where the server has no IDLE. It waits for the folder
// of the latest Poll, before the first for that of New.
//
// The connection is kept for the next Wait when ctx ends; Close ends it. A
// second Wait at the same time waits for the first.
func (d *Driver) Wait(ctx context.Context) error {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return errClosed("wait")
	}
	defer end()
	select {
	case d.waiting <- struct{}{}:
		defer func() { <-d.waiting }()
	case <-ctx.Done():
		return d.ended(ctx)
	}
	d.mem.mu.Lock()
	none := d.mem.noIdle
	d.mem.mu.Unlock()
	if none {
		return noIdle()
	}
	kept := d.idle != nil
	err := d.wait(ctx)
	if err != nil && kept && d.idle == nil && ctx.Err() == nil && driver.KindOf(err) == driver.KindTemporary {
		err = d.wait(ctx) // the server had ended the kept connection
	}
	if ctx.Err() != nil && err != nil {
		return d.ended(ctx)
	}
	return err
}

func noIdle() error {
	return &driver.Error{Op: "idle", Driver: driverName, Kind: driver.KindPermanent, Err: fmt.Errorf("the server has no IDLE: %w", errors.ErrUnsupported)}
}

// ended is the error of a Wait whose context ended.
func (d *Driver) ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, driver.ErrClosed) {
		return errClosed("wait")
	}
	return &driver.Error{Op: "wait", Driver: driverName, Kind: driver.KindTemporary, Err: cause}
}

// An alarm is what was known when a Wait told of mail without having listened.
type alarm struct {
	listings int
	validity uint32
	next     uint64
	vain     int // so many in a row, after each of which a poll found nothing new
}

// maxVain is how many alarms in vain are taken for a server that numbers mails
// otherwise in each session, or announces what it does not list. To believe it
// would be to poll without a pause.
const maxVain = 2

var errVain = errors.New("the server tells of mail that polls do not find")

func (d *Driver) wait(ctx context.Context) (err error) {
	folder := d.mem.polled(canonicalPath(d.set.imap.folder))
	if d.idle != nil && d.idle.folder != folder {
		d.dropIdle()
	}
	if d.idle == nil {
		if err := d.openIdle(ctx, folder); err != nil {
			return err
		}
	}
	i := d.idle
	atOnce := i.s.box.news
	for {
		told, err := d.listen(ctx, i)
		if told && atOnce && d.inVain(i) {
			told, err = false, i.s.fail(i.s.wrap("idle", driver.KindTemporary, errVain))
		}
		if err != nil {
			if i.s.err != nil || ctx.Err() == nil {
				d.dropIdle()
			}
			return err
		}
		if told {
			i.s.box.news = true // the next Wait compares before it listens
			if _, validity, _ := d.mem.latest(i.folder); validity != 0 && validity != i.s.box.validity {
				d.dropIdle() // to learn the numbering that polls see
			}
			return nil
		}
		atOnce, d.alarm.vain = false, 0
	}
}

// inVain reports whether there were too many alarms without a reason, this one
// included.
func (d *Driver) inVain(i *idler) bool {
	listings, validity, next := d.mem.latest(i.folder)
	last := d.alarm
	d.alarm = alarm{listings, validity, next, last.vain}
	switch {
	case listings == last.listings: // nobody polled since
	case validity == i.s.box.validity && (validity != last.validity || next > last.next):
		d.alarm.vain = 0
	default:
		d.alarm.vain++
	}
	return d.alarm.vain >= maxVain
}

// openIdle connects and opens the folder read-only, so that nothing that
// happens there is ours.
func (d *Driver) openIdle(ctx context.Context, folder string) error {
	s, err := connect(ctx, d.addr(&d.set), &d.set)
	if err != nil {
		return err
	}
	defer s.watch(ctx)()
	i := &idler{s: s, folder: folder}
	err = func() error {
		if !s.has("IDLE") {
			d.mem.mu.Lock()
			d.mem.noIdle = true
			d.mem.mu.Unlock()
			return noIdle()
		}
		name, err := s.resolve(i.folder)
		if err != nil {
			return err
		}
		if s.lib != nil {
			s.lib.close()
			<-s.lib.ended()
			s.lib = nil
		}
		return s.selectFolder(name, true)
	}()
	if err != nil {
		s.close("idle")
		return err
	}
	s.box.news = true // compare with the latest listing at once
	d.idle = i
	return nil
}

func (d *Driver) dropIdle() {
	if d.idle != nil {
		d.idle.s.close("idle")
		d.idle = nil
	}
}

// listen runs one IDLE to its end, and tells whether there is new mail.
func (d *Driver) listen(ctx context.Context, i *idler) (told bool, err error) {
	s := i.s
	for !s.box.news {
		if i.tag == "" {
			if err := i.begin(ctx); err != nil {
				return false, err
			}
		}
		err := s.conn.Await(ctx, i.since.Add(d.set.imap.idleRenewal))
		switch {
		case err == nil:
			if err := i.hear(ctx); err != nil {
				return false, err
			}
		case errors.Is(err, netx.ErrSilence):
			if err := i.done(ctx); err != nil {
				return false, err
			}
		case s.conn.Err() != nil:
			return false, s.broken("idle", err)
		default: // ctx ended; the connection lives
			return false, err
		}
	}
	if err := i.done(ctx); err != nil {
		return false, err
	}
	return d.news(ctx, i)
}

// begin sends IDLE and waits for the server's consent.
func (i *idler) begin(ctx context.Context) error {
	defer i.s.watch(ctx)()
	tag, err := i.s.send("IDLE")
	if err != nil {
		return err
	}
	i.since = time.Now()
	if err := i.s.consent("idle"); err != nil {
		return err
	}
	i.tag = tag
	return nil
}

// hear reads what the server says.
func (i *idler) hear(ctx context.Context) error {
	defer i.s.watch(ctx)()
	for {
		r, err := i.s.read(time.Now().Add(i.s.conn.Timeout()))
		if err != nil {
			return i.s.broken("idle", err)
		}
		switch r.tag {
		case "*":
			if err := i.s.untagged(r, nil); err != nil {
				return i.s.broken("idle", err)
			}
		case i.tag: // the server ends it
			i.tag = ""
			if _, err := i.s.finish("IDLE", r.status()); err != nil {
				return i.s.fail(err)
			}
			return nil
		default:
			return i.s.broken("idle", i.s.garbage("a reply to nothing that was asked", []byte(r.tag)))
		}
		if i.s.conn.Buffered() == 0 {
			return nil
		}
	}
}

// done ends an IDLE; the server has one time-out to agree.
func (i *idler) done(ctx context.Context) error {
	if i.tag == "" {
		return nil
	}
	defer i.s.watch(ctx)()
	tag := i.tag
	i.tag = ""
	if _, err := i.s.conn.Command([]byte("DONE\r\n")); err != nil {
		return i.s.broken("idle", err)
	}
	if err := i.s.conn.Flush(); err != nil {
		return i.s.broken("idle", err)
	}
	if _, err := i.s.await("IDLE", tag, nil); err != nil {
		return i.s.fail(err)
	}
	return nil
}

// news finds out whether there is mail that the latest Poll did not list: by
// UID, because counts tell nothing once somebody removes mail.
func (d *Driver) news(ctx context.Context, i *idler) (bool, error) {
	defer i.s.watch(ctx)()
	i.s.box.news = false
	_, validity, next := d.mem.latest(i.folder)
	if validity != i.s.box.validity {
		return true, nil // never polled, or numbered anew
	}
	if next > math.MaxUint32 {
		return false, nil // no number is left for new mail
	}
	// "n:*" names the last mail too if there is none above n (RFC 3501
	// section 6.4.8).
	uids, err := i.s.search(fmt.Sprintf("UID %d:* UNDELETED", max(next, 1))) // 0: the server did not say, and had none
	if err != nil {
		return false, i.s.fail(err)
	}
	return len(uids) > 0 && uint64(uids[len(uids)-1]) >= next, nil
}
