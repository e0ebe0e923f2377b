package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/maildriver/maildriver/spool"
)

// A Source says which mailbox an [Inbound] polls, and how to open it.
type Source struct {
	// Protocol is the name of the protocol, "POP3", and the prefix of raw file
	// names.
	Protocol string
	// Server, Port, Account and Folder say which mailbox it is. Port is 0 for
	// the protocol's usual one, Folder "" where there is one only. Together
	// they must be the same for each poll of a mailbox: its records, its lock
	// and Event.ID depend on them.
	Server  string
	Port    int
	Account string
	Folder  string
	// Open connects and logs in.
	Open func(ctx context.Context) (Mailbox, error)
}

// An Inbound is the one inbound pipeline, over any [Mailbox]: lock, replay,
// list, fetch, parse, loopback, hand-over, record, remove, commit, prune. A
// driver keeps one and calls Poll for each session; any number of goroutines
// may do so, one session a mailbox at a time.
type Inbound struct{ handle uint64 }

// NewInbound returns a pipeline with a driver handle of its own, which shows
// in its file names.
func NewInbound() *Inbound { return &Inbound{spool.NewDriverHandle()} }

// Poll runs one session. It is what a driver's Poll does once its options are
// applied.
func (in *Inbound) Poll(ctx context.Context, src Source, c Common, set InboundSettings, h Handler) (PollResult, error) {
	if h == nil {
		return PollResult{}, &Error{Op: "poll", Driver: src.Protocol, Kind: KindConfig, Err: errors.New("the handler is nil")}
	}
	if c.Spool == nil {
		return PollResult{}, &Error{Op: "poll", Driver: src.Protocol, Kind: KindConfig, Err: errors.New("polling needs a spool, see WithSpool")}
	}
	if err := ctx.Err(); err != nil {
		return PollResult{}, &Error{Op: "poll", Driver: src.Protocol, Kind: KindTemporary, Err: context.Cause(ctx)}
	}
	id := spool.MailboxID{Protocol: src.Protocol, Server: src.Server, Port: src.Port, Account: src.Account, Folder: src.Folder}
	box, err := c.Spool.Lock(id)
	if err != nil {
		return PollResult{}, spoolError("lock", src.Protocol, err)
	}
	s := &session{
		src: src, common: c, set: set, handler: h, box: box,
		svc:     c.Spool.NewService(in.handle),
		mailbox: mailboxHash(box.ID()),
		log: c.Logger.With(slog.String("protocol", src.Protocol), slog.String("server", src.Server),
			slog.String("account", src.Account), slog.String("profile", c.Profile)),
	}
	for _, w := range box.Warnings() {
		s.log.Warn("spool", "warning", w)
	}
	err = s.run(ctx)
	res := s.res
	if s.stuck != nil {
		s.res = PollResult{} // the late result is nobody's
		// The handler still has the mail: nobody else may touch the mailbox
		// before it is known what it made of it.
		go s.awaitStuck()
	} else if uerr := box.Unlock(); uerr != nil && err == nil {
		err = spoolError("unlock", src.Protocol, uerr)
	}
	s.log.Debug("session ended", "delivered", res.Delivered, "removed", res.Removed, "error", err)
	return res, err
}

// spoolError classifies an error of the spool.
func spoolError(op, protocol string, err error) error {
	kind := KindLocal
	if errors.Is(err, spool.ErrBusy) {
		kind = KindBusy
		err = fmt.Errorf("%w: %w", ErrMailboxBusy, err)
	} else if _, ok := errors.AsType[*spool.DirError](err); ok {
		kind = KindConfig
	}
	return &Error{Op: op, Driver: protocol, Kind: kind, Err: err}
}

// mailboxHash is the mailbox's part of every Event.ID.
func mailboxHash(id spool.MailboxID) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%s\x00%d\x00%s\x00%s", id.Protocol, id.Server, id.Port, id.Account, id.Folder)))
	return sum[:]
}

// eventID names the mail with that key, and if it matters that header, in that
// mailbox.
func eventID(mailbox []byte, key, headerHash string) string {
	h := sha256.New()
	h.Write(mailbox)
	h.Write([]byte(key + "\x00" + headerHash))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
