package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/life"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

const driverName = "SMTP"

// The default ports: 25, and 465 where [driver.SecurityImplicit] is set.
// Submission with STARTTLS usually is on 587, and LMTP has no port of its own:
// these must be named.
const (
	DefaultPort    = 25
	DefaultTLSPort = 465
)

// A Driver sends through one server, or a backup server while that cannot be
// used. Any number of goroutines may use it. It keeps connections for the
// messages to come, each for one message at a time, and closes those that are
// idle; a timer and no goroutine waits for that. It embeds [driver.NoPoll]: to
// poll as well make a [driver.Pair].
type Driver struct {
	driver.NoPoll

	host string
	port int // 0: by security

	set      settings
	standing standing
	net      driver.Network
	common   driver.Common
	compose  driver.Composing

	primary *relay
	backup  *relay   // nil without
	health  *health  // nil without a backup
	limiter *limiter // nil without a rate limit

	life   life.Life
	handle uint64

	mu       sync.Mutex
	services map[*spool.Spool]*service
}

// A service gives the names of the files of one driver in one spool.
type service struct {
	*spool.Service
	sent atomic.Uint64
}

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Composer = (*Driver)(nil)
)

// New makes a driver for the server at addr, a host or host:port. It connects
// to nothing. Every option that is wrong is reported, all in one error of kind
// config.
func New(addr string, opts ...driver.Option) (*Driver, error) {
	d := &Driver{
		set: defaultSettings(), standing: defaultStanding(), net: driver.NewNetwork(), common: driver.NewCommon(),
		handle: spool.NewDriverHandle(), services: make(map[*spool.Spool]*service),
	}
	d.net.Timeout = DefaultTimeout
	var errs []error
	var err error
	if d.host, d.port, err = splitAddr(addr); err != nil {
		errs = append(errs, configError(fmt.Errorf("address: %w", err)))
	}
	if err := driver.Apply(opts, &d.set, &d.standing, &d.net, &d.common, &d.compose); err != nil {
		errs = append(errs, err)
	} else if err := errors.Join(check(&d.set, &d.common), d.connect()); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	if len(errs) > 1 {
		return nil, configError(errors.Join(errs...))
	}
	for _, name := range d.standing.ignored {
		d.common.Logger.Warn("parameter is ignored", "driver", driverName, "profile", d.common.Profile, "parameter", name)
	}
	return d, nil
}

func configError(err error) error {
	return &driver.Error{Op: "options", Driver: driverName, Kind: driver.KindConfig, Err: err}
}

// check finds options that are right alone and wrong together.
func check(set *settings, common *driver.Common) error {
	if common.Spool == nil && (set.saveSent || set.keepUnsent) {
		return configError(errors.New("saving messages needs a spool: driver.WithSpool"))
	}
	return nil
}

// connect makes what holds the connections, and makes none.
func (d *Driver) connect() error {
	d.primary = d.relay(d.addr(d.net.Security), &d.net)
	if d.standing.haveLimiter {
		d.limiter = newLimiter(d.standing.rateMails, d.standing.rateTo, d.standing.ratePer)
	}
	if d.standing.lmtp && d.port == 0 {
		return configError(errors.New("LMTP has no default port: name it"))
	}
	if !d.standing.haveBackup {
		return nil
	}
	n := d.net
	n.User, n.Password, n.Mechanisms, n.Certificates, n.ServerName = "", driver.Secret{}, nil, nil, ""
	n.Credentials = driver.Credentials{}
	if err := driver.Apply(d.standing.backupOpts, &n); err != nil {
		return fmt.Errorf("smtp.Backup: %w", err)
	}
	if how := weaker(&d.net, &n); how != "" {
		return configError(fmt.Errorf("smtp.Backup: the backup server would be used with %s, unlike the first", how))
	}
	b := &Driver{}
	b.host, b.port, _ = splitAddr(d.standing.backup)
	d.backup = d.relay(b.addr(n.Security), &n)
	d.health = &health{period: d.standing.period}
	return nil
}

func (d *Driver) relay(addr string, n *driver.Network) *relay {
	s := &d.standing
	return &relay{addr: addr, net: n, lmtp: s.lmtp, pool: &pool{max: s.conns, idle: s.idle, age: s.age, perConn: s.perConn}}
}

// splitAddr is driver.SplitAddr for servers that mail is named after: a name
// must be a domain, too (RFC 5321 section 4.1.2).
func splitAddr(addr string) (host string, port int, err error) {
	if host, port, err = driver.SplitAddr(addr); err != nil {
		return "", 0, err
	}
	if net.ParseIP(host) == nil && checkDomain(strings.TrimSuffix(host, ".")) != nil {
		return "", 0, fmt.Errorf("%q is not a host name or address", host)
	}
	return host, port, nil
}

// Capabilities tells that the driver sends and does not poll.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Send: true} }

// Compose makes a message of a draft, see [driver.Composer]. What a draft leaves
// open is as the options of package driver for it say, e.g. [driver.WithFrom]
// and [driver.WithCharset].
func (d *Driver) Compose(draft *mime.Draft, opts ...driver.Option) (*driver.Message, error) {
	common, compose := d.common, d.compose
	if err := driver.Apply(opts, &common, &compose); err != nil {
		return nil, err
	}
	return compose.Compose(draft, common.From)
}

// Close ends running Sends with [driver.ErrClosed], waits for them, and says
// good-bye on the connections that were kept. It is idempotent.
func (d *Driver) Close() error {
	d.life.Close()
	d.primary.close()
	if d.backup != nil {
		d.backup.close()
	}
	return nil
}

// Send transmits m and returns once the server took responsibility, or refused,
// or the outcome is unknown. It makes one try, with a backup server one with
// each at most, and never repeats anything that may have been accepted.
//
// The error is a [*driver.Error] whose Op is the stage (Stage..., "dial",
// "tls", "failover"), with a [*driver.DeliveryError] inside and, where a reply
// decided, a [*ReplyError]. The package comment tells which failure has which
// outcome.
//
// opts hold for this call. One that changes how to connect, such as
// [driver.WithLogin] or [WithHeloName], has it use a connection of its own to
// the first server, which is closed afterwards; options of [New] are not taken.
func (d *Driver) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	defer end()
	if !ok {
		return conclude(m, "", make([]result, len(m.To)), &failure{"send", driver.KindClosed, driver.DeliveryDeferred, driver.ErrClosed})
	}
	s, err := d.prepare(m, opts)
	if err != nil {
		return conclude(m, "", make([]result, len(m.To)), &failure{"options", driver.KindConfig, driver.DeliveryDeferred, err})
	}
	return s.run(ctx)
}

// prepare applies the options of one call.
func (d *Driver) prepare(m *driver.Message, opts []driver.Option) (*sending, error) {
	s := &sending{driver: d, message: m, primary: d.primary, backup: d.backup}
	if len(opts) == 0 {
		s.set, s.common = &d.set, &d.common
		return s, nil
	}
	set, common := d.set, d.common
	if err := driver.Apply(opts, &set, &common); err != nil {
		// Some of them may be of the connection.
		var n driver.Network
		set, common, n = d.set, d.common, d.net
		if err := driver.Apply(opts, &set, &n, &common); err != nil {
			return nil, err
		}
		s.primary, s.backup = &relay{addr: d.addr(n.Security), net: &n, lmtp: d.standing.lmtp}, nil
	} else if set.heloName != d.set.heloName {
		s.primary, s.backup = &relay{addr: d.primary.addr, net: &d.net, lmtp: d.standing.lmtp}, nil
	}
	s.set, s.common = &set, &common
	return s, check(&set, &common)
}

func (d *Driver) addr(s driver.Security) string {
	port := d.port
	if port == 0 {
		port = DefaultPort
		if s == driver.SecurityImplicit {
			port = DefaultTLSPort
		}
	}
	return net.JoinHostPort(d.host, strconv.Itoa(port))
}

// service gives the driver's service in s.
func (d *Driver) service(s *spool.Spool) *service {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.services[s]
	if v == nil {
		v = &service{Service: s.NewService(d.handle)}
		d.services[s] = v
	}
	return v
}
