package imap

import (
	"context"
	"errors"
	"fmt"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/life"
)

const driverName = "IMAP"

// A Driver polls one folder of one account. Its methods may be called by any
// number of goroutines; a second Poll of the same folder is told
// [driver.ErrMailboxBusy]. It has no goroutine between calls, and no
// connection but the one that a Wait left idling. It cannot send.
type Driver struct {
	driver.NoSend

	host string
	port int // 0: by the security
	set  options
	in   *driver.Inbound
	life life.Life
	mem  memory

	waiting chan struct{} // holds the place of the one Wait that idles
	idle    *idler        // guarded by waiting
	alarm   alarm         // likewise
}

// options is everything that options can set.
type options struct {
	imap     settings
	net      driver.Network
	common   driver.Common
	inbound  driver.InboundSettings
	schedule driver.Schedule
}

func newOptions() *options {
	return &options{newSettings(), driver.NewNetwork(), driver.NewCommon(), driver.NewInboundSettings(), driver.NewSchedule()}
}

// targets is what New lets options set.
func (o *options) targets() []any {
	return []any{&o.imap, &o.net, &o.common, &o.inbound, &o.schedule}
}

// New makes a driver for the account at addr, "host" or "host:port"; without a
// port it is [DefaultPort], or [DefaultTLSPort] with
// [driver.SecurityImplicit]. It does no input or output on the network.
//
// [driver.WithLogin] and [driver.WithSpool] are required. All faults of the
// configuration are reported at once, in an error of kind
// [driver.KindConfig].
func New(addr string, opts ...driver.Option) (*Driver, error) {
	d := &Driver{set: *newOptions(), waiting: make(chan struct{}, 1)}
	var errs []error
	var err error
	if d.host, d.port, err = driver.SplitAddr(addr); err != nil {
		errs = append(errs, err)
	}
	o := &d.set
	if err := driver.Apply(opts, o.targets()...); err != nil {
		errs = append(errs, err)
	}
	if o.net.User == "" {
		errs = append(errs, errors.New("driver.WithLogin is missing: IMAP has no access without login"))
	}
	if o.common.Spool == nil {
		errs = append(errs, errors.New("driver.WithSpool is missing: polling needs a place for the mail"))
	}
	if err := o.check(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, &driver.Error{Op: "new", Driver: driverName, Kind: driver.KindConfig, Err: errors.Join(errs...)}
	}
	d.in = driver.NewInbound()
	return d, nil
}

// check finds options that contradict each other.
func (o *options) check() error {
	if o.imap.after == afterMove && canonicalPath(o.imap.moveTo) == canonicalPath(o.imap.folder) {
		return fmt.Errorf("imap.WithMoveTo names the folder %q itself", o.imap.folder)
	}
	if o.imap.failedFolder != "" && canonicalPath(o.imap.failedFolder) == canonicalPath(o.imap.folder) {
		return fmt.Errorf("imap.WithFailedFolder names the folder %q itself", o.imap.folder)
	}
	return nil
}

// Poll runs one session; see [driver.Poller]. All options but those of
// [driver.Schedule] may be given for this call alone.
func (d *Driver) Poll(ctx context.Context, h driver.Handler, opts ...driver.Option) (driver.PollResult, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return driver.PollResult{}, errClosed("poll")
	}
	defer end()
	o := d.set
	if err := driver.Apply(opts, &o.imap, &o.net, &o.common, &o.inbound); err != nil {
		return driver.PollResult{}, err
	}
	if err := o.check(); err != nil {
		return driver.PollResult{}, &driver.Error{Op: "poll", Driver: driverName, Kind: driver.KindConfig, Err: err}
	}
	return d.in.Poll(ctx, d.source(&o), o.common, o.inbound, h)
}

func errClosed(op string) error {
	return &driver.Error{Op: op, Driver: driverName, Kind: driver.KindClosed, Err: driver.ErrClosed}
}

// source says which mailbox it is. A port that says nothing new is left out,
// so that an explicit default port makes no other mailbox of the same one.
func (d *Driver) source(o *options) driver.Source {
	src := driver.Source{
		Protocol: driverName,
		Server:   d.host,
		Account:  o.net.User,
		Folder:   canonicalPath(o.imap.folder),
		Open:     func(ctx context.Context) (driver.Mailbox, error) { return d.open(ctx, o) },
	}
	if d.port != defaultPort(o.net.Security) {
		src.Port = d.port
	}
	return src
}

// addr is where to connect.
func (d *Driver) addr(o *options) string {
	if d.port == 0 {
		return joinPort(d.host, defaultPort(o.net.Security))
	}
	return joinPort(d.host, d.port)
}

// Close ends a running Poll or Wait with [driver.ErrClosed] and returns when it
// has ended. Later calls return that error.
func (d *Driver) Close() error {
	d.life.Close()
	d.waiting <- struct{}{}
	defer func() { <-d.waiting }()
	d.dropIdle()
	return nil
}

// Capabilities says that the driver polls and waits, and cannot send.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Poll: true, Push: true}
}

// Schedule returns when [driver.Run] polls, as the options of New set it.
func (d *Driver) Schedule() driver.Schedule { return d.set.schedule }

func defaultPort(s driver.Security) int {
	if s == driver.SecurityImplicit {
		return DefaultTLSPort
	}
	return DefaultPort
}
