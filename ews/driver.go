package ews

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/life"
)

const driverName = "EWS"

// A Driver is one folder of one mailbox, and the account to send as. Its methods
// may be called by any number of goroutines; a second Poll of the same folder
// is told [driver.ErrMailboxBusy]. Each call has connections of its own and
// closes them. Between calls there is neither connection nor goroutine, except
// for notifications once Wait was called: these keep a connection and a
// goroutine until Close, or until half an hour after the last Wait.
type Driver struct {
	url  *url.URL // nil: by Autodiscover
	set  options
	in   *driver.Inbound
	life life.Life
	mem  memory
	push pusher
}

// options is everything that options can set.
type options struct {
	ews      settings
	net      driver.Network
	common   driver.Common
	inbound  driver.InboundSettings
	compose  driver.Composing
	schedule driver.Schedule
	named    *url.URL // the server that New was given, with Autodiscover, too; nil for none
}

func newOptions() *options {
	return &options{
		ews: newSettings(), net: driver.NewNetwork(), common: driver.NewCommon(), inbound: driver.NewInboundSettings(), schedule: driver.NewSchedule(),
	}
}

// targets is what New lets options set.
func (o *options) targets() []any {
	return []any{&o.ews, &o.net, &o.common, &o.inbound, &o.compose, &o.schedule}
}

// anchor is the mailbox that requests are about, by its address, "" if that is
// not known.
func (o *options) anchor() string {
	switch {
	case o.ews.actFor != "" && o.ews.actAs != SID:
		return o.ews.actFor
	case o.ews.mailbox != "":
		return o.ews.mailbox
	case o.ews.email != "":
		return o.ews.email
	case strings.Contains(o.net.User, "@"):
		return o.net.User
	}
	return ""
}

// account names the mailbox, the same for everyone who opens it.
func (o *options) account() string {
	switch {
	case o.ews.mailbox != "":
		return strings.ToLower(o.ews.mailbox)
	case o.ews.actFor != "":
		return strings.ToLower(o.ews.actFor)
	case o.ews.email != "":
		return strings.ToLower(o.ews.email)
	}
	return o.net.User
}

// New makes a driver for the server at addr: a URL
// "https://HOST/EWS/Exchange.asmx", or a host, for which it becomes that. With
// [WithAutodiscover] addr may be empty: it is not asked for, but only tells which
// host [driver.WithInsecureSkipVerify] is for, and may have the tokens. It does no
// input or output on the network.
//
// [driver.WithLogin] is required, except with a certificate or Kerberos, and
// [driver.WithSpool] for Poll. All faults of the configuration are reported at
// once, in an error of kind [driver.KindConfig].
func New(addr string, opts ...driver.Option) (*Driver, error) {
	d := &Driver{set: *newOptions()}
	o := &d.set
	var errs []error
	var err error
	if err := driver.Apply(opts, o.targets()...); err != nil {
		errs = append(errs, err)
	}
	if !o.ews.autodiscover {
		if d.url, err = endpointURL(addr); err != nil {
			errs = append(errs, err)
		}
		o.named = d.url
	} else if u, err := endpointURL(addr); err == nil {
		o.named = u
	}
	if err := o.check(d.url); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, &driver.Error{Op: "new", Driver: driverName, Kind: driver.KindConfig, Err: errors.Join(errs...)}
	}
	d.in = driver.NewInbound()
	return d, nil
}

// check finds options that contradict each other, or that this protocol does
// not have.
func (o *options) check(u *url.URL) error {
	var errs []error
	for _, m := range o.net.Mechanisms {
		switch m {
		case "BASIC", "DIGEST", "NTLM", "NEGOTIATE", "BEARER":
		case "FORM":
			errs = append(errs, errors.New("authentication by a form is for WebDAV alone; Exchange Web Services take Basic, NTLM, Negotiate or Bearer"))
		default:
			errs = append(errs, fmt.Errorf("driver.WithMechanisms: %q is not one of BASIC, DIGEST, NTLM, NEGOTIATE, BEARER", m))
		}
	}
	if o.net.User == "" && o.net.Tokens == nil && o.net.Negotiator == nil && len(o.net.Certificates) == 0 {
		errs = append(errs, errors.New("driver.WithLogin is missing: Exchange has no access without login"))
	}
	if o.net.Security == driver.SecurityExplicit {
		errs = append(errs, errors.New("driver.WithSecurity: HTTP has no upgrade to TLS, the URL says whether it is used"))
	}
	if u != nil && u.Scheme == "http" && o.net.Security == driver.SecurityImplicit {
		errs = append(errs, errors.New("driver.WithSecurity: the URL is one without TLS"))
	}
	if o.ews.autodiscover && o.discoverAddress() == "" {
		errs = append(errs, errors.New("ews.WithAutodiscover: neither it nor the user name of driver.WithLogin is an e-mail address"))
	}
	if o.ews.after == afterMove && samePath(o.ews.moveTo, o.ews.folder) {
		errs = append(errs, fmt.Errorf("ews.WithMoveTo names the folder %q itself", o.ews.folder))
	}
	if o.ews.failedFolder != "" && samePath(o.ews.failedFolder, o.ews.folder) {
		errs = append(errs, fmt.Errorf("ews.WithFailedFolder names the folder %q itself", o.ews.folder))
	}
	if o.ews.after == afterTrash && samePath("DeletedItems", o.ews.folder) {
		errs = append(errs, errors.New("ews.WithDelete: mails of the folder DeletedItems cannot be moved to it; use HardDelete"))
	}
	return errors.Join(errs...)
}

func samePath(a, b string) bool { return canonicalPath(a) == canonicalPath(b) }

// Poll runs one session; see [driver.Poller]. All options but those of
// [driver.Schedule] may be given for this call alone.
func (d *Driver) Poll(ctx context.Context, h driver.Handler, opts ...driver.Option) (driver.PollResult, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return driver.PollResult{}, errClosed("poll")
	}
	defer end()
	o := d.set
	if err := driver.Apply(opts, &o.ews, &o.net, &o.common, &o.inbound, &o.compose); err != nil {
		return driver.PollResult{}, err
	}
	if err := o.check(d.url); err != nil {
		return driver.PollResult{}, &driver.Error{Op: "poll", Driver: driverName, Kind: driver.KindConfig, Err: err}
	}
	if o.common.Spool == nil {
		return driver.PollResult{}, &driver.Error{Op: "poll", Driver: driverName, Kind: driver.KindConfig, Err: errors.New("driver.WithSpool is missing: polling needs a place for the mail")}
	}
	return d.in.Poll(ctx, d.source(&o), o.common, o.inbound, h)
}

func errClosed(op string) error {
	return &driver.Error{Op: op, Driver: driverName, Kind: driver.KindClosed, Err: driver.ErrClosed}
}

// source says which mailbox it is. Where Autodiscover finds the server, the
// mail domain stands for it: a mailbox that is moved to another server stays the
// same.
func (d *Driver) source(o *options) driver.Source {
	src := driver.Source{
		Protocol: driverName,
		Account:  o.account(),
		Folder:   canonicalPath(o.ews.folder),
		Open:     func(ctx context.Context) (driver.Mailbox, error) { return d.open(ctx, o) },
	}
	if d.url != nil {
		src.Server = strings.ToLower(d.url.Host)
	} else {
		src.Server = domainOf(o.discoverAddress())
	}
	return src
}

// Close ends running calls with [driver.ErrClosed] and returns when they have
// ended, and notifications with them. Later calls return that error.
func (d *Driver) Close() error {
	d.life.Close()
	return nil
}

// Capabilities says that the driver polls, sends and is told of new mail.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Poll: true, Send: true, Push: !d.set.ews.noPush}
}

// Schedule returns when [driver.Run] polls, as the options of New set it.
func (d *Driver) Schedule() driver.Schedule { return d.set.schedule }

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Waiter   = (*Driver)(nil)
	_ driver.Composer = (*Driver)(nil)
)

// endpointURL makes the URL of the service out of what is configured.
func endpointURL(addr string) (*url.URL, error) {
	if addr == "" {
		return nil, errors.New("the address of the server is empty; see also ews.WithAutodiscover")
	}
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil:
		// The error of the parser repeats the text, which may hold a password.
		return nil, errors.New("the address of the server is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("address: %q is neither https nor http", u.Scheme)
	case u.User != nil:
		return nil, errors.New("the address of the server holds a user; see driver.WithLogin")
	case u.Hostname() == "" || strings.ContainsFunc(u.Host, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("the address of the server names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the address of the server holds a query")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = servicePath
	}
	return u, nil
}

// servicePath is where Exchange has the service.
const servicePath = "/EWS/Exchange.asmx"

// memory is what a driver knows from one session to the next. Any number of
// goroutines may use it.
type memory struct {
	throttle throttle

	mu      sync.Mutex
	found   *url.URL // by Autodiscover
	foundAs string   // the address that it is for
	level   Version  // that the server takes, 0: not known yet
	build   build
	folders map[string]folderRef
}

// levelFor gives the level for a request, at most that one.
func (m *memory) levelFor(most Version) Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.level == 0 || m.level > most {
		return most
	}
	return m.level
}

// heard notes what a server says it is. The name of its level is never used,
// only its number.
func (m *memory) heard(b build) {
	if b.major == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.build = b
	if v := b.level(); m.level == 0 || v < m.level {
		m.level = v
	}
}

// stepDown takes the next lower level after the server refused one.
func (m *memory) stepDown(refused Version) bool {
	if refused <= Exchange2007 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.level == 0 || m.level >= refused {
		m.level = refused - 1
	}
	return true
}

// server gives the server's own number; ok is false before its first answer.
func (m *memory) server() (b build, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.build, m.build.major > 0
}
