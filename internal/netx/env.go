package netx

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/maildriver/maildriver/driver"
)

// choose fills in the proxy, from the options or the environment.
func (h *hop) choose(protocol string) error {
	p := h.n.Proxy
	h.kind = p.Kind
	if h.kind == driver.ProxyDefault {
		h.kind = driver.ProxySystem
		if h.n.Dial != nil {
			h.kind = driver.ProxyNone
		}
	}
	if h.kind != driver.ProxySystem {
		h.addr, h.user, h.secret, h.mechs = p.Addr, p.User, p.Password, p.Mechanisms
		if h.kind > driver.ProxyNone && h.addr == "" {
			return h.fail("connect", driver.KindConfig, errors.New("the proxy's address is not named"))
		}
		return nil
	}
	h.kind = driver.ProxyNone
	scheme := "https"
	order := []string{"ALL_PROXY", "HTTPS_PROXY"}
	switch protocol {
	case "EWS", "WEBDAV", "HTTP":
		order = []string{"HTTPS_PROXY", "ALL_PROXY"}
		if h.n.Security == driver.SecurityNone {
			scheme, order = "http", []string{"HTTP_PROXY", "ALL_PROXY"}
		}
	}
	name, value := environment(order)
	if value == "" || h.excepted(scheme) {
		return nil
	}
	h.kind = driver.ProxySystem // until it is known
	if err := h.parse(value); err != nil {
		h.kind, h.addr = driver.ProxySystem, ""
		return h.fail("environment", driver.KindConfig, fmt.Errorf("%s: %w", name, err))
	}
	h.mechs = p.Mechanisms
	if h.user == "" {
		h.user, h.secret = p.User, p.Password
	}
	return nil
}

// EnvironmentProxy gives the proxy of [driver.ProxySystem] for a request, nil
// for none. It is the Proxy function of an [http.Transport] that must not go
// around a proxy because its URL is bad, as [http.ProxyFromEnvironment] does.
//
// Errors are [*driver.Error] of kind config: a bad URL, SOCKS4, which net/http
// does not know, and what no proxy can be asked for.
func EnvironmentProxy(r *http.Request) (*url.URL, error) {
	n := driver.NewNetwork()
	port := "80"
	if r.URL.Scheme == "https" {
		n.Security, port = driver.SecurityImplicit, "443"
	} else {
		n.Security = driver.SecurityNone
	}
	if p := r.URL.Port(); p != "" {
		port = p
	}
	h := &hop{n: &n, host: r.URL.Hostname(), port: port}
	err := h.choose("HTTP")
	u := &url.URL{Host: h.addr}
	switch {
	case err != nil:
	case h.kind == driver.ProxyNone:
		return nil, nil
	case h.kind == driver.ProxyHTTP, h.kind == driver.ProxyHTTPS, h.kind == driver.ProxySOCKS5:
		u.Scheme = h.kind.String()
		h.password = h.secret.Reveal()
		err = h.check()
	default:
		err = h.fail("environment", driver.KindConfig, fmt.Errorf("%v is not for HTTP here: socks5, http or https", h.kind))
	}
	if he, ok := errors.AsType[*hopError](err); ok {
		return nil, &driver.Error{Op: "proxy", Kind: he.kind, Err: he.ProxyError}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case h.password != "":
		u.User = url.UserPassword(h.user, h.password)
	case h.user != "":
		u.User = url.User(h.user)
	}
	return u, nil
}

// environment gives the first variable of the list that is set. A program that
// serves CGI must not take HTTP_PROXY, which is a header of its client there.
func environment(order []string) (name, value string) {
	for _, upper := range order {
		for _, name := range []string{upper, strings.ToLower(upper)} {
			if v := os.Getenv(name); v != "" && (name != "HTTP_PROXY" || os.Getenv("REQUEST_METHOD") == "") {
				return name, v
			}
		}
	}
	return "", ""
}

// excepted asks the rules of NO_PROXY, of which httpproxy has the common form.
// What it makes of proxies' URLs is not asked: it takes a bad one for none.
func (h *hop) excepted(scheme string) bool {
	except := os.Getenv("NO_PROXY")
	if except == "" {
		except = os.Getenv("no_proxy")
	}
	const any = "http://proxy.invalid:1"
	cfg := httpproxy.Config{HTTPProxy: any, HTTPSProxy: any, NoProxy: except}
	proxy, err := cfg.ProxyFunc()(&url.URL{Scheme: scheme, Host: net.JoinHostPort(h.host, h.port)})
	return err == nil && proxy == nil
}

// parse reads a proxy's URL. Its errors do not show it: it may hold a password.
func (h *hop) parse(text string) error {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("the value is not a URL")
	}
	var port int
	switch strings.ToLower(u.Scheme) {
	case "http":
		h.kind, port = driver.ProxyHTTP, 80
	case "https":
		h.kind, port = driver.ProxyHTTPS, 443
	case "socks5", "socks5h", "socks":
		h.kind, port = driver.ProxySOCKS5, driver.DefaultSOCKSPort
	case "socks4":
		h.kind, port = driver.ProxySOCKS4, driver.DefaultSOCKSPort
	case "socks4a":
		h.kind, port = driver.ProxySOCKS4a, driver.DefaultSOCKSPort
	default:
		return errors.New("the URL is not of http, https, socks5, socks4a or socks4")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Opaque != "" {
		return errors.New("the URL has more than a host")
	}
	if h.addr, err = driver.ProxyAddr(u.Host, port); err != nil {
		return errors.New("the URL names no host, or a bad one")
	}
	h.user = u.User.Username()
	password, _ := u.User.Password()
	h.secret = driver.NewSecret(password)
	return nil
}
