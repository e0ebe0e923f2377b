package webdav

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/life"
)

const driverName = "WEBDAV"

// A Driver polls one folder of one mailbox, and sends through it. Its methods
// may be called by any number of goroutines; a second Poll of the same folder
// is told [driver.ErrMailboxBusy]. Between calls it has no goroutine and no
// connection, but keeps what it learned of the server, and the cookies of a
// form login.
type Driver struct {
	url  *url.URL
	set  options
	in   *driver.Inbound
	life life.Life

	mu     sync.Mutex
	shared *session // of calls without options of their own; nil until needed
}

var _ driver.Driver = (*Driver)(nil)

// options is everything that options can set.
type options struct {
	dav      settings
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
	return []any{&o.dav, &o.net, &o.common, &o.inbound, &o.schedule}
}

// New makes a driver for the mailbox at addr: "https://host/exchange/mailbox",
// or "https://host" or just "host", where the mailbox is then looked for under
// the address of the profile ([driver.WithFrom]) and the user name. With
// [WithPlain] it is the URL of a collection. The scheme decides about TLS:
// [driver.WithSecurity] does not. It does no input or output on the network.
//
// Polling needs [driver.WithSpool]; sending does not. All faults of the
// configuration are reported at once, in an error of kind
// [driver.KindConfig].
func New(addr string, opts ...driver.Option) (*Driver, error) {
	d := &Driver{set: *newOptions()}
	var errs []error
	var err error
	if d.url, err = parseAddr(addr); err != nil {
		errs = append(errs, err)
	}
	if err := driver.Apply(opts, d.set.targets()...); err != nil {
		errs = append(errs, err)
	}
	if err := d.set.check(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, &driver.Error{Op: "new", Driver: driverName, Kind: driver.KindConfig, Err: errors.Join(errs...)}
	}
	d.in = driver.NewInbound()
	return d, nil
}

// parseAddr takes a URL of http or https, or a host with an optional port,
// which means https. Errors do not repeat what may hold a password.
func parseAddr(addr string) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, errors.New("the address is neither a URL nor a host")
	case u.User != nil:
		return nil, errors.New("the address holds a user name: driver.WithLogin is the place for it")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("the address is not of http or https but %q", u.Scheme)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the address holds a query or a fragment")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("the port %q is not between 1 and 65535", p)
		}
	}
	return u, nil
}

// The mechanisms of this package beside those of HTTP.
const (
	mechForm    = "FORM"
	mechDefault = "DEFAULT"
)

// check finds options that are wrong together.
func (o *options) check() error {
	var errs []error
	s := &o.dav
	if o.net.Security == driver.SecurityExplicit {
		errs = append(errs, errors.New("driver.WithSecurity: HTTP has no STARTTLS; https in the address means TLS"))
	}
	if s.plain {
		if s.after == afterTrash || s.after == afterRead {
			errs = append(errs, errors.New("webdav.WithTrash and webdav.WithMarkRead need an Exchange"))
		}
		if s.unread {
			errs = append(errs, errors.New("webdav.WithUnread needs an Exchange"))
		}
	}
	for _, m := range o.net.Mechanisms {
		if m == mechForm && (s.plain || len(o.net.Mechanisms) > 1) {
			errs = append(errs, errors.New("mechanism FORM stands alone, and needs an Exchange"))
		}
	}
	if o.form() && (o.net.User == "" || o.net.Password.IsZero()) {
		errs = append(errs, errors.New("mechanism FORM needs driver.WithLogin with a password"))
	}
	own := s.folderPath()
	for _, x := range [][2]string{{"Folder", own}, {"MoveTo", s.moveTo}, {"FailedFolder", s.failedFolder}} {
		what, path := x[0], x[1]
		if _, err := splitPath(path); err != nil || what == "MoveTo" && s.after != afterMove {
			continue // the option itself was refused
		}
		if what != "Folder" && strings.EqualFold(path, own) {
			errs = append(errs, fmt.Errorf("webdav.With%s names the folder %q itself", what, own))
		}
		if !s.plain {
			if err := checkWellKnown(path); err != nil {
				errs = append(errs, fmt.Errorf("webdav.With%s: %w", what, err))
			}
		}
	}
	return errors.Join(errs...)
}

// form tells that the login form is asked for by name.
func (o *options) form() bool {
	return len(o.net.Mechanisms) == 1 && o.net.Mechanisms[0] == mechForm
}

// Poll runs one session; see [driver.Poller]. All options but those of
// [driver.Schedule] may be given for this call alone; those of this package and
// of the connection make it a session of its own, with a login of its own.
func (d *Driver) Poll(ctx context.Context, h driver.Handler, opts ...driver.Option) (driver.PollResult, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return driver.PollResult{}, errClosed("poll")
	}
	defer end()
	o, s, done, err := d.session(ctx, "poll", opts)
	if err != nil {
		return driver.PollResult{}, err
	}
	src := driver.Source{
		Protocol: driverName, Server: strings.ToLower(d.url.Hostname()), Account: d.account(o), Folder: d.folderID(o),
		Open: func(ctx context.Context) (driver.Mailbox, error) { return s.openMailbox(ctx, &o.inbound) },
	}
	if p := d.url.Port(); p != "" && p != defaultPort(d.url.Scheme) {
		src.Port, _ = strconv.Atoi(p)
	}
	res, err := d.in.Poll(ctx, src, o.common, o.inbound, h)
	done(err)
	return res, err
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// account and folderID say which mailbox it is, whoever logs in how.
func (d *Driver) account(o *options) string {
	if o.dav.plain {
		if o.net.User == "" {
			return "anonymous"
		}
		return o.net.User
	}
	if p := strings.Trim(d.url.Path, "/"); p != "" {
		return p
	}
	return o.net.User
}

func (d *Driver) folderID(o *options) string {
	path := o.dav.folderPath()
	if !o.dav.plain {
		return canonical(path)
	}
	return strings.TrimSuffix(d.url.Path, "/") + "/" + path
}

// session gives the options and the session of one call; done ends its use and
// is told how the call ended.
func (d *Driver) session(ctx context.Context, op string, opts []driver.Option) (o *options, s *session, done func(error), err error) {
	set := d.set
	o = &set
	if err := driver.Apply(opts, &o.dav, &o.net, &o.common, &o.inbound); err != nil {
		return nil, nil, nil, err
	}
	if err := o.check(); err != nil {
		return nil, nil, nil, &driver.Error{Op: op, Driver: driverName, Kind: driver.KindConfig, Err: err}
	}
	if own, _ := driver.Split(opts, &o.dav, &o.net); len(own) > 0 {
		s, err := newSession(ctx, d.url, o)
		if err != nil {
			return nil, nil, nil, err
		}
		return o, s, func(error) { s.close() }, nil
	}
	s, err = d.share(ctx)
	return o, s, func(err error) { d.unshare(s, err) }, err
}

// share gives the session of calls without options of their own.
func (d *Driver) share(ctx context.Context) (*session, error) {
	d.mu.Lock()
	s := d.shared
	if s != nil {
		s.users++
	}
	d.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := newSession(ctx, d.url, &d.set)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shared != nil { // somebody was faster
		s.close()
		s = d.shared
	}
	d.shared = s
	s.users++
	return s, nil
}

// unshare ends one use of the session. After a refused login the next call
// begins another, so that a password that was changed is read anew.
func (d *Driver) unshare(s *session, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if (driver.KindOf(err) == driver.KindAuth || s.isRefused()) && d.shared == s {
		d.shared = nil
	}
	if codeOf(err) == http.StatusNotFound {
		s.forget()
	}
	s.users--
	switch {
	case s.users > 0:
	case d.shared == s:
		s.idle()
	default:
		s.close()
	}
}

func errClosed(op string) error {
	return &driver.Error{Op: op, Driver: driverName, Kind: driver.KindClosed, Err: driver.ErrClosed}
}

// Close ends running calls with [driver.ErrClosed] and returns when they have
// ended. Later calls return that error.
func (d *Driver) Close() error {
	d.life.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shared != nil {
		d.shared.close()
	}
	return nil
}

// Capabilities says that the driver polls, and that it sends unless it is a
// plain one.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Poll: true, Send: !d.set.dav.plain}
}

// Schedule returns when [driver.Run] polls, as the options of New set it.
func (d *Driver) Schedule() driver.Schedule { return d.set.schedule }
