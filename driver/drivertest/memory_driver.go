package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/life"
	"github.com/maildriver/maildriver/internal/netx"
)

const memoryName = "MEMORY"

// A MemoryDriver polls and sends on a [Memory]. Its methods may be called by
// any number of goroutines.
type MemoryDriver struct {
	m    *Memory
	set  memoryOptions
	in   *driver.Inbound
	life life.Life
}

type memoryOptions struct {
	net     driver.Network
	common  driver.Common
	inbound driver.InboundSettings
}

var _ driver.Driver = (*MemoryDriver)(nil)

// New makes a driver. It takes all shared options of package driver but those
// of a schedule; login and security have no effect.
func (m *Memory) New(opts ...driver.Option) (*MemoryDriver, error) {
	d := &MemoryDriver{m: m, set: memoryOptions{driver.NewNetwork(), driver.NewCommon(), driver.NewInboundSettings()}, in: driver.NewInbound()}
	if err := driver.Apply(opts, &d.set.net, &d.set.common, &d.set.inbound); err != nil {
		return nil, err
	}
	return d, nil
}

// Close ends running calls with [driver.ErrClosed] and waits for them.
func (d *MemoryDriver) Close() error {
	d.life.Close()
	return nil
}

// Capabilities says that the driver polls and sends.
func (d *MemoryDriver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Poll: true, Send: true}
}

// Poll runs one session; see [driver.Poller].
func (d *MemoryDriver) Poll(ctx context.Context, h driver.Handler, opts ...driver.Option) (driver.PollResult, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return driver.PollResult{}, memoryError("poll", driver.KindClosed, driver.ErrClosed)
	}
	defer end()
	o := d.set
	if err := driver.Apply(opts, &o.net, &o.common, &o.inbound); err != nil {
		return driver.PollResult{}, err
	}
	src := driver.Source{Protocol: memoryName, Server: "memory", Account: "mailbox", Open: func(ctx context.Context) (driver.Mailbox, error) {
		c, err := d.m.connect(ctx, &o)
		if err != nil {
			return nil, err
		}
		return &memoryMailbox{c}, nil
	}}
	return d.in.Poll(ctx, src, o.common, o.inbound, h)
}

func memoryError(op string, k driver.Kind, err error) *driver.Error {
	return &driver.Error{Op: op, Driver: memoryName, Addr: "memory:1", Kind: k, Err: err}
}

// connect opens a connection through the host's dialer, if there is one.
func (m *Memory) connect(ctx context.Context, o *memoryOptions) (*memoryConn, error) {
	n := o.net
	n.Security = driver.SecurityNone
	if n.Dial == nil {
		n.Dial = m.Dial
	}
	conn, err := netx.Dial(ctx, &n, memoryName, "memory:1", o.common.Logger)
	if err != nil {
		return nil, err
	}
	conn.EndSetup()
	return &memoryConn{conn}, nil
}

// A memoryConn is the client's side of the wire.
type memoryConn struct{ *netx.Conn }

// errRefused is an answer with '!': never.
var errRefused = errors.New("refused")

const maxMemoryLine = 1 << 10

func (c *memoryConn) call(verb Verb, arg string) (string, error) {
	if _, err := fmt.Fprintf(c, "%s %s\n", verb, arg); err != nil {
		return "", err
	}
	if err := c.Flush(); err != nil {
		return "", err
	}
	return c.reply(verb)
}

func (c *memoryConn) reply(verb Verb) (string, error) {
	line, err := c.ReadLine(maxMemoryLine)
	if err != nil {
		return "", err
	}
	op := strings.ToLower(string(verb))
	text := string(line)
	switch {
	case strings.HasPrefix(text, "+"):
		return text[1:], nil
	case strings.HasPrefix(text, "!"):
		return "", memoryError(op, driver.KindPermanent, fmt.Errorf("%w: %q", errRefused, text[1:]))
	case strings.HasPrefix(text, "-"):
		return "", memoryError(op, driver.KindTemporary, fmt.Errorf("refused for now: %q", text[1:]))
	}
	return "", memoryError(op, driver.KindProtocol, fmt.Errorf("an answer that is none: %q", text))
}

func (c *memoryConn) number(verb Verb, arg string) (int64, error) {
	text, err := c.call(verb, arg)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, memoryError(strings.ToLower(string(verb)), driver.KindProtocol, fmt.Errorf("%q is no count", text))
	}
	return n, nil
}

// memoryMailbox is the wire as a [driver.Mailbox].
type memoryMailbox struct{ c *memoryConn }

var (
	_ driver.Mailbox    = (*memoryMailbox)(nil)
	_ driver.KeepAliver = (*memoryMailbox)(nil)
)

// List yields nothing before the listing is whole.
func (b *memoryMailbox) List(ctx context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		entries, err := b.list(ctx)
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (b *memoryMailbox) list(ctx context.Context) ([]driver.Entry, error) {
	defer b.c.Watch(ctx)()
	n, err := b.c.number(VerbList, "")
	if err != nil {
		return nil, err
	}
	var entries []driver.Entry
	for range n {
		line, err := b.c.ReadLine(maxMemoryLine)
		if err != nil {
			return nil, err
		}
		id, size, _ := strings.Cut(string(line), " ")
		bytes, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			bytes = -1
		}
		entries = append(entries, driver.Entry{ID: driver.ID(id), Size: bytes})
	}
	return entries, nil
}

// Fetch implements [driver.Mailbox], one mail after the other.
func (b *memoryMailbox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	defer b.c.Watch(ctx)()
	for _, id := range ids {
		n, err := b.c.number(VerbFetch, string(id))
		if errors.Is(err, errRefused) {
			continue
		}
		if err != nil {
			return err
		}
		b.c.StartBody()
		body := &io.LimitedReader{R: b.c, N: n}
		if err := put(id, body); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes effect at Commit.
func (b *memoryMailbox) Remove(ctx context.Context, ids []driver.ID) error {
	defer b.c.Watch(ctx)()
	for _, id := range ids {
		if _, err := b.c.call(VerbRemove, string(id)); err != nil {
			return err
		}
	}
	return nil
}

// Commit implements [driver.Mailbox].
func (b *memoryMailbox) Commit(ctx context.Context) error {
	defer b.c.Watch(ctx)()
	_, err := b.c.call(VerbCommit, "")
	return err
}

// KeepAlive implements [driver.KeepAliver].
func (b *memoryMailbox) KeepAlive(ctx context.Context) error {
	defer b.c.Watch(ctx)()
	_, err := b.c.call(VerbNoop, "")
	return err
}

// Close drops the connection; the server forgets what was to be removed.
func (b *memoryMailbox) Close() error { return b.c.Close() }
