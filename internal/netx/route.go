package netx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/idna"

	"github.com/maildriver/maildriver/driver"
)

// A hop is one way to a server: a proxy, or none, and what was told about it.
type hop struct {
	kind     driver.ProxyKind
	addr     string // host:port of the proxy
	user     string
	secret   driver.Secret // the password as it was given
	password string        // and as it is
	mechs    []string

	n    *driver.Network
	host string // of the server, in ASCII
	port string
	note func(format string, args ...any)
}

// A hopError is a proxy's failure and its kind.
type hopError struct {
	*driver.ProxyError
	kind driver.Kind
}

func (e *hopError) Unwrap() error { return e.ProxyError }

func (h *hop) fail(step string, k driver.Kind, err error) error {
	return h.failCode(step, k, 0, err)
}

func (h *hop) failCode(step string, k driver.Kind, code int, err error) error {
	if he, ok := errors.AsType[*hopError](err); ok {
		return he
	}
	return &hopError{&driver.ProxyError{Proxy: h.kind, Addr: h.addr, Step: step, Code: code, Err: err}, k}
}

// open connects to the server, through the proxy if there is one. All of it is
// within ctx.
func (c *Conn) open(ctx context.Context, n *driver.Network, port string) (net.Conn, error) {
	h := &hop{n: n, host: c.host, port: port, note: c.trace.Note}
	if err := h.choose(c.name); err != nil {
		return nil, err
	}
	if h.kind == driver.ProxyNone {
		return h.dial(ctx, net.JoinHostPort(h.host, h.port), false)
	}
	secret, err := h.secret.Resolve(ctx)
	if err != nil {
		return nil, h.fail("login", driver.KindConfig, err)
	}
	h.password = secret.Reveal()
	c.Hide(h.password) // it may be of the environment, which OpenTrace does not know
	ip, err := h.target(ctx)
	if err != nil {
		return nil, err
	}
	return h.through(ctx, ip)
}

// target is the address for a proxy that takes no names, and lets the policy
// judge what the proxy will be asked for.
func (h *hop) target(ctx context.Context) (netip.Addr, error) {
	ip, _ := netip.ParseAddr(h.host)
	if h.kind == driver.ProxySOCKS4 {
		if !ip.IsValid() {
			// SOCKS4 has no names: this look-up is ours (A29).
			list, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", h.host)
			if err != nil {
				return ip, err
			}
			ip = list[0].Unmap()
		}
		if ip = ip.Unmap(); !ip.Is4() {
			return ip, h.fail("request", driver.KindConfig, errors.New("SOCKS4 takes IPv4 addresses only; SOCKS4a and SOCKS5 take more"))
		}
	}
	return ip, h.judge(ctx, h.host, ip.String(), h.port, false)
}

// judge asks the policy. ip that is no address stands for one that nobody
// knows.
func (h *hop) judge(ctx context.Context, host, ip, port string, proxy bool) error {
	if h.n.Policy == nil {
		return nil
	}
	t := driver.DialTarget{Host: host, Proxy: proxy}
	if a, err := netip.ParseAddrPort(net.JoinHostPort(ip, port)); err == nil {
		t.Addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if err := h.n.Policy(ctx, t); err != nil {
		return &policyError{err}
	}
	return nil
}

// A policyError is a refusal of the host's policy.
type policyError struct{ err error }

func (e *policyError) Error() string { return "the policy refuses the connection: " + e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }

// dial opens a connection, each address of which the policy has seen.
func (h *hop) dial(ctx context.Context, addr string, proxy bool) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	h.note("connecting to %s", addr)
	if h.n.Dial == nil {
		d := &net.Dialer{}
		if h.n.Policy != nil {
			d.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
				ip, port, err := net.SplitHostPort(address)
				if err != nil {
					return err
				}
				return h.judge(ctx, host, ip, port, proxy)
			}
		}
		return d.DialContext(ctx, "tcp", addr)
	}
	nc, err := h.n.Dial(ctx, "tcp", addr)
	if err != nil || h.n.Policy == nil {
		return nc, err
	}
	ip := ""
	if remote := nc.RemoteAddr(); remote != nil {
		if rip, rport, err := net.SplitHostPort(remote.String()); err == nil {
			ip, port = rip, rport
		}
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		_ = nc.Close()
		return nil, &policyError{fmt.Errorf("the dialer does not tell the address of %s", host)}
	}
	if err := h.judge(ctx, host, ip, port, proxy); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return nc, nil
}

// through connects to the proxy and has it connect to the server.
func (h *hop) through(ctx context.Context, ip netip.Addr) (net.Conn, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if h.kind == driver.ProxyHTTP || h.kind == driver.ProxyHTTPS {
		return h.connect(ctx)
	}
	nc, err := h.reach(ctx)
	if err != nil {
		return nil, err
	}
	err = within(ctx, nc, func() error {
		if h.kind == driver.ProxySOCKS5 {
			return h.socks5(nc, ip)
		}
		return h.socks4(nc, ip)
	})
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return nc, nil
}

// reach connects to the proxy, in TLS if that is its kind.
func (h *hop) reach(ctx context.Context) (net.Conn, error) {
	nc, err := h.dial(ctx, h.addr, true)
	if err != nil {
		if pe, ok := errors.AsType[*policyError](err); ok {
			return nil, h.fail("connect", driver.KindPolicy, pe)
		}
		return nil, h.fail("connect", driver.KindTemporary, err)
	}
	if h.kind != driver.ProxyHTTPS {
		return nc, nil
	}
	host, _, _ := net.SplitHostPort(h.addr)
	// Of the host's TLS options only the trust anchors are the proxy's
	// business: what was permitted, pinned or named for the server is not (A25).
	t := tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: h.n.RootCAs, NextProtos: []string{"http/1.1"}})
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		kind := driver.KindTemporary
		if ce, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			kind, err = driver.KindPolicy, describe(ce.Err, host, first(ce.UnverifiedCertificates))
		} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			kind, err = driver.KindProtocol, errors.New("the proxy does not answer with TLS: is it one of http?")
		}
		return nil, h.fail("tls", kind, err)
	}
	return t, nil
}

// within runs a dialogue with a proxy, which ends with ctx. The connection has
// no deadline afterwards.
func within(ctx context.Context, nc net.Conn, run func() error) error {
	if d, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(d); err != nil {
			return err
		}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = nc.SetDeadline(time.Unix(1, 0))
	})
	err := run()
	if !stop() {
		<-done
		if err == nil {
			err = ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// check refuses what a proxy could take for something else, before anything is
// dialed (A27, A29).
func (h *hop) check() error {
	if err := driver.CheckHost(h.host); err != nil {
		return h.fail("request", driver.KindConfig, err)
	}
	if ip, err := netip.ParseAddr(h.host); err == nil && ip.Zone() != "" {
		// A zone means something on this machine only (RFC 4007 section 6).
		return h.fail("request", driver.KindConfig, errors.New("an address with a zone cannot be reached through a proxy"))
	}
	for _, text := range []string{h.user, h.password} {
		for _, r := range text {
			if r < ' ' || r == 0x7f {
				return h.fail("login", driver.KindConfig, errors.New("user name or password holds a control character"))
			}
		}
		if h.kind == driver.ProxySOCKS5 && len(text) > 255 {
			return h.fail("login", driver.KindConfig, fmt.Errorf("user name or password longer than 255 bytes: %w", driver.ErrLimit))
		}
	}
	if len(h.user) > 1024 || len(h.password) > 1024 {
		return h.fail("login", driver.KindConfig, fmt.Errorf("user name or password longer than 1024 bytes: %w", driver.ErrLimit))
	}
	return nil
}

// asciiHost makes the form of a host name that is looked up and told to proxies
// and in TLS.
func asciiHost(host string) (string, error) {
	if err := driver.CheckHost(host); err != nil {
		return "", err
	}
	for i := range len(host) {
		if host[i] >= 0x80 {
			return idna.Lookup.ToASCII(host)
		}
	}
	return host, nil
}
