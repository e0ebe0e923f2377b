package driver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ProxyKind says what stands between us and the server.
type ProxyKind uint8

// The kinds of proxies. The proxy resolves the server's name, except with
// SOCKS4, which takes addresses only.
const (
	// ProxyDefault is ProxySystem, unless [WithDialer] gives the host's own
	// network: then it is ProxyNone.
	ProxyDefault ProxyKind = iota
	// ProxySystem takes the proxy that the environment names: for mail
	// ALL_PROXY, else HTTPS_PROXY; for https HTTPS_PROXY, else ALL_PROXY; for
	// http HTTP_PROXY, else ALL_PROXY; in upper or lower case, unless NO_PROXY
	// excepts the server (the rules of golang.org/x/net/http/httpproxy: this
	// machine is excepted always). A value that is not a proxy's URL is an
	// error, never a way around the proxy.
	ProxySystem
	// ProxyNone connects directly, whatever the environment says.
	ProxyNone
	// ProxySOCKS4 has no password, and takes IPv4 addresses only.
	ProxySOCKS4
	// ProxySOCKS4a is SOCKS4 with names.
	ProxySOCKS4a
	// ProxySOCKS5 is RFC 1928, with RFC 1929 if there is a login.
	ProxySOCKS5
	// ProxyHTTP is CONNECT (RFC 9110 section 9.3.6).
	ProxyHTTP
	// ProxyHTTPS is CONNECT over TLS with the proxy, whose certificate is
	// checked always, for the name of its address.
	ProxyHTTPS
)

var proxyNames = [...]string{"default", "system", "none", "socks4", "socks4a", "socks5", "http", "https"}

func (k ProxyKind) String() string {
	if int(k) < len(proxyNames) {
		return proxyNames[k]
	}
	return fmt.Sprintf("proxy(%d)", uint8(k))
}

// The ports of proxies that are named without one. The registered port of
// SOCKS is 1080; HTTP has none for proxies.
const (
	DefaultSOCKSPort      = 1080
	DefaultHTTPProxyPort  = 8080
	DefaultHTTPSProxyPort = 443
)

// A Proxy says how to reach a server through a proxy. The zero value is the
// default.
type Proxy struct {
	Kind ProxyKind
	// Addr is host:port; "" with ProxyDefault, ProxySystem and ProxyNone.
	Addr string
	// User and Password are for the proxy alone. SOCKS4 sends the user as the
	// user id and no password. NTLM takes DOMAIN\user.
	User     string
	Password Secret
	// Mechanisms restricts the login at an HTTP proxy to these, in this order:
	// "Digest", "Basic", "NTLM"; empty means Digest, else Basic.
	Mechanisms []string
}

// WithProxy chooses the proxy; the default is [ProxyDefault]. addr is host or
// host:port, "" for the kinds that need none.
func WithProxy(kind ProxyKind, addr string) Option {
	return netOption("Proxy", func(n *Network) error {
		var port int
		switch kind {
		case ProxyDefault, ProxySystem, ProxyNone:
			if addr != "" {
				return fmt.Errorf("%v takes no address", kind)
			}
			n.Proxy.Kind, n.Proxy.Addr = kind, ""
			return nil
		case ProxySOCKS4, ProxySOCKS4a, ProxySOCKS5:
			port = DefaultSOCKSPort
		case ProxyHTTP:
			port = DefaultHTTPProxyPort
		case ProxyHTTPS:
			port = DefaultHTTPSProxyPort
		default:
			return fmt.Errorf("%v is not one of %s", kind, strings.Join(proxyNames[:], ", "))
		}
		addr, err := ProxyAddr(addr, port)
		if err != nil {
			return err
		}
		n.Proxy.Kind, n.Proxy.Addr = kind, addr
		return nil
	})
}

// WithProxyLogin sets the account at the proxy. It is sent to no one else, and
// only in the way that the proxy asks for. SOCKS5 and Basic have no protection
// of their own: use [ProxyHTTPS] or "Digest" on networks that others share.
func WithProxyLogin[S SecretText](user string, password S) Option {
	return netOption("ProxyLogin", func(n *Network) error {
		if err := checkLogin(user, secretOf(password)); err != nil {
			return err
		}
		n.Proxy.User, n.Proxy.Password = user, secretOf(password)
		return nil
	})
}

// The ways to log in at an HTTP proxy, for [WithProxyMechanisms].
const (
	ProxyBasic  = "Basic"
	ProxyDigest = "Digest"
	ProxyNTLM   = "NTLM"
)

// WithProxyMechanisms restricts the login at an HTTP proxy to the named ways,
// the first that the proxy offers being used. The default is Digest, else
// Basic; NTLM only if it is named here.
func WithProxyMechanisms(names ...string) Option {
	return netOption("ProxyMechanisms", func(n *Network) error {
		known := []string{ProxyBasic, ProxyDigest, ProxyNTLM}
		list := make([]string, 0, len(names))
		for _, name := range names {
			i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
			if i < 0 {
				return fmt.Errorf("%q is not one of %s", name, strings.Join(known, ", "))
			}
			list = append(list, known[i])
		}
		n.Proxy.Mechanisms = list
		return nil
	})
}

// ProxyAddr makes host:port of a proxy's address. A URL is refused, as there are
// options for each of its parts.
func ProxyAddr(addr string, port int) (string, error) {
	host, named, err := SplitAddr(addr)
	if err != nil {
		return "", err
	}
	if named != 0 {
		port = named
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// SplitAddr takes a server's address apart: "host", "host:port", "[v6]",
// "[v6]:port" or a bare IPv6 address. port is 0 if the address has none. A host
// that could not be one is refused, see [CheckHost]; so is a URL, which is not
// shown in the error, for it may hold a password.
func SplitAddr(addr string) (host string, port int, err error) {
	if strings.Contains(addr, "://") || strings.Contains(addr, "@") {
		return "", 0, errors.New("a server is named by host or host:port, not by a URL; login and kind have options of their own")
	}
	host = addr
	if h, p, err := net.SplitHostPort(addr); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("the port %q is not one of 1 to 65535", p)
		}
		host, port = h, int(n)
	} else if inner, ok := strings.CutPrefix(addr, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	}
	if err := CheckHost(host); err != nil {
		return "", 0, err
	}
	return host, port, nil
}

// CheckHost refuses what cannot be a host's name or address, such as one that
// would become a second line or field in what is said to a proxy (A27).
func CheckHost(host string) error {
	if host == "" {
		return errors.New("there is no host")
	}
	if len(host) > 255 {
		return fmt.Errorf("a host of %d bytes: %w", len(host), ErrLimit)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		// ParseAddr takes anything for a zone, line ends too.
		if strings.ContainsFunc(ip.Zone(), notInZone) {
			return fmt.Errorf("%q has a zone of other than letters, digits and . _ -", host)
		}
		return nil
	}
	bad := func(r rune) bool {
		if r >= 0x80 {
			return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r)
		}
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`/\@:[]"'<>?#%&,;`, r)
	}
	if strings.ContainsFunc(host, bad) {
		if strings.Contains(host, "@") {
			// It may be a URL, and what stands before the @ a password.
			return errors.New("a text with @ is not a host name or address")
		}
		return fmt.Errorf("%q is not a host name or address", host)
	}
	return nil
}

// notInZone tells what a zone, the name or number of an interface (RFC 4007
// section 11.2), does not hold.
func notInZone(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}
