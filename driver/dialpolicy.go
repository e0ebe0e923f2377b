package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// A DialTarget is an address that is about to be connected to.
type DialTarget struct {
	// Host is what the configuration says: a name or an address.
	Host string
	// Addr is where the connection goes. It is not valid (Addr.IsValid) when a
	// proxy will resolve Host: then the name is all there is to judge by.
	Addr netip.AddrPort
	// Proxy says that this is the proxy, and not the server.
	Proxy bool
}

// A DialPolicy permits a connection by returning nil. It is asked about every
// address that a name resolves to, right before the connection is made to it,
// so that a name cannot change its address in between; and about the server
// behind a proxy as well as the proxy. Any number of goroutines may call it.
type DialPolicy func(ctx context.Context, t DialTarget) error

// WithDialPolicy sets who decides where connections may go, e.g.
// [PublicAddressesOnly] where users of the host choose the servers (A52). A
// refusal is an error of kind policy.
func WithDialPolicy(p DialPolicy) Option {
	return netOption("DialPolicy", func(n *Network) error {
		if p == nil {
			return errors.New("the function is nil")
		}
		n.Policy = p
		return nil
	})
}

// ErrNotPublic is the refusal of [PublicAddressesOnly].
var ErrNotPublic = errors.New("not an address of the public internet")

// PublicAddressesOnly is a [DialPolicy] that keeps connections out of this
// machine and private networks. The proxy may be anywhere, as the host chose
// it; a name that the proxy would resolve is refused, as nobody sees where it
// leads.
func PublicAddressesOnly(_ context.Context, t DialTarget) error {
	if t.Proxy {
		return nil
	}
	if !t.Addr.IsValid() {
		return fmt.Errorf("%q is resolved by the proxy: %w", t.Host, ErrNotPublic)
	}
	if ip := publicPart(t.Addr.Addr()); !isPublic(ip) {
		return fmt.Errorf("%v: %w", t.Addr.Addr(), ErrNotPublic)
	}
	return nil
}

// notPublic are the ranges of the IANA special-purpose registries that
// netip has no method for.
var notPublic = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && ip.Zone() == "" &&
		!slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// publicPart finds the IPv4 address within one of IPv6: mapped, of NAT64 (RFC
// 6052) or of 6to4 (RFC 3056), each of which leads to it.
func publicPart(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if !ip.Is6() {
		return ip
	}
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}
