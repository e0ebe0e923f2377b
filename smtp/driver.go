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
	"github.com/maildriver/maildriver/spool"
)

const driverName = "SMTP"

// The default ports: 25, and 465 where [driver.SecurityImplicit] is set.
// Submission with STARTTLS usually is on 587, which must be named.
const (
	DefaultPort    = 25
	DefaultTLSPort = 465
)

// A Driver sends through one server. Any number of goroutines may use it; each
// Send has a connection of its own. It embeds [driver.NoPoll]: to poll as well
// make a [driver.Pair].
type Driver struct {
	driver.NoPoll

	host string
	port int // 0: by security

	set    settings
	net    driver.Network
	common driver.Common

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

var _ driver.Driver = (*Driver)(nil)

// New makes a driver for the server at addr, a host or host:port. It connects
// to nothing. Every option that is wrong is reported, all in one error of kind
// config.
func New(addr string, opts ...driver.Option) (*Driver, error) {
	d := &Driver{
		set: defaultSettings(), net: driver.NewNetwork(), common: driver.NewCommon(),
		handle: spool.NewDriverHandle(), services: make(map[*spool.Spool]*service),
	}
	var errs []error
	var err error
	if d.host, d.port, err = splitAddr(addr); err != nil {
		errs = append(errs, &driver.Error{Op: "options", Driver: driverName, Kind: driver.KindConfig, Err: fmt.Errorf("address %q: %w", addr, err)})
	}
	if err := driver.Apply(opts, &d.set, &d.net, &d.common); err != nil {
		errs = append(errs, err)
	} else if err := check(&d.set, &d.common); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	if len(errs) > 1 {
		return nil, &driver.Error{Op: "options", Driver: driverName, Kind: driver.KindConfig, Err: errors.Join(errs...)}
	}
	return d, nil
}

// check finds options that are right alone and wrong together.
func check(set *settings, common *driver.Common) error {
	if common.Spool == nil && (set.saveSent || set.keepUnsent) {
		return &driver.Error{
			Op: "options", Driver: driverName, Kind: driver.KindConfig,
			Err: errors.New("saving messages needs a spool: driver.WithSpool"),
		}
	}
	return nil
}

// splitAddr takes a host name, an address (an IPv6 address with or without
// brackets), or either with a port.
func splitAddr(addr string) (host string, port int, err error) {
	host = addr
	if h, p, err := net.SplitHostPort(addr); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("the port %q is not one of 1 to 65535", p)
		}
		host, port = h, int(n)
	} else if strings.HasPrefix(addr, "[") && strings.HasSuffix(addr, "]") {
		host = addr[1 : len(addr)-1]
	}
	if net.ParseIP(host) == nil && checkHost(host) != nil {
		return "", 0, checkHost(host)
	}
	return host, port, nil
}

func checkHost(host string) error {
	if host == "" {
		return errors.New("there is no host")
	}
	if strings.HasPrefix(host, "[") || checkDomain(strings.TrimSuffix(host, ".")) != nil {
		return errors.New("not a host name or address")
	}
	return nil
}

// Capabilities tells that the driver sends and does not poll.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Send: true} }

// Close ends running Sends with [driver.ErrClosed] and waits for them. It is
// idempotent.
func (d *Driver) Close() error {
	d.life.Close()
	return nil
}

// Send transmits m in one session and returns once the server took
// responsibility, or refused, or the outcome is unknown. It makes one try and
// never repeats anything.
//
// The error is a [*driver.Error] whose Op is the stage (Stage..., "dial",
// "tls"), with a [*driver.DeliveryError] inside and, where a reply decided, a
// [*ReplyError]. The package comment tells which failure has which outcome.
//
// opts hold for this call.
func (d *Driver) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	defer end()
	set, network, common := d.set, d.net, d.common
	if !ok {
		return conclude(m, "", make([]result, len(m.To)), &failure{"send", driver.KindClosed, driver.DeliveryDeferred, driver.ErrClosed})
	}
	err := driver.Apply(opts, &set, &network, &common)
	if err == nil {
		err = check(&set, &common)
	}
	if err != nil {
		return conclude(m, "", make([]result, len(m.To)), &failure{"options", driver.KindConfig, driver.DeliveryDeferred, err})
	}
	send := &sending{
		driver: d, message: m, set: &set, net: &network, common: &common,
		addr: d.addr(network.Security),
	}
	return send.run(ctx)
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
