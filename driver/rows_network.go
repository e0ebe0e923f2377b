package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// clientCertificate reads the rows of the client certificate. Files are read
// now, so that what is wrong with them is told at start-up.
func clientCertificate(v Values, _ string) ([]Option, error) {
	const cert, key, pass = "Certificate file name", "Private key file name", "Private key file password"
	if !v.Has(cert) {
		for _, row := range []string{key, pass} {
			if v.Has(row) {
				return nil, &ParamError{cert, fmt.Errorf("%w when %q is given", ErrParameterRequired, row)}
			}
		}
		return nil, nil
	}
	c, err := LoadClientCertificate(context.Background(), v.Text(cert), v.Text(key), v.Secret(pass))
	if err == nil {
		return []Option{WithClientCertificate(c)}, nil
	}
	row := cert
	switch {
	case errors.Is(err, ErrNoPrivateKey), errors.Is(err, ErrKeyMismatch):
		row = key
	case errors.Is(err, ErrWrongPassphrase), errors.Is(err, ErrPassphraseRequired):
		row = pass
	}
	if _, ok := errors.AsType[*SecretError](err); ok {
		row = pass
	}
	return nil, &ParamError{row, err}
}

// identityOptions reads the rows that say who the server must be.
func identityOptions(v Values, protocol string) ([]Option, error) {
	var opts []Option
	if name := protocol + " Certificate Name"; v.Has(name) {
		opts = append(opts, WithServerName(v.Text(name)).ForParameter(name))
	}
	name := protocol + " Pinned Key"
	if !v.Has(name) {
		return opts, nil
	}
	var pins []Pin
	for _, word := range strings.FieldsFunc(v.Text(name), func(r rune) bool { return r == ' ' || r == ';' || r == ',' }) {
		pin, err := ParsePin(word)
		if err != nil {
			return opts, &ParamError{name, err}
		}
		pins = append(pins, pin)
	}
	return append(opts, WithPinnedKeys(pins...).ForParameter(name)), nil
}

var proxyKinds = map[string]ProxyKind{
	"System default": ProxySystem, "System": ProxySystem, "None": ProxyNone,
	"Socks4": ProxySOCKS4, "Socks4a": ProxySOCKS4a, "Socks5": ProxySOCKS5, "HTTP": ProxyHTTP, "HTTPS": ProxyHTTPS,
}

// proxyOptions reads the rows of the proxy. A proxy that is named and would not
// be used is an error: it must not look as if it were.
func proxyOptions(v Values, _ string) ([]Option, error) {
	const typ, server, port, user, pass, auth = "Proxy Type", "Proxy Server", "Proxy Port", "Proxy Username", "Proxy Password", "Proxy Authentication"
	kind := ProxyDefault
	if v.Has(typ) {
		kind = proxyKinds[v.Text(typ)]
	}
	addr := ""
	var errs []error
	switch kind {
	case ProxyDefault, ProxySystem, ProxyNone:
		for _, row := range []string{server, port} {
			if v.Has(row) {
				errs = append(errs, &ParamError{row, fmt.Errorf("counts only when %q names a kind of proxy", typ)})
			}
		}
	default:
		if addr = v.Text(server); addr == "" {
			return nil, &ParamError{server, fmt.Errorf("%w with %s in %q", ErrParameterRequired, v.Text(typ), typ)}
		}
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), strconv.FormatInt(v.Int(port, defaultProxyPort), 10))
	}
	if kind == ProxyNone {
		for _, row := range []string{user, pass} {
			if v.Has(row) {
				errs = append(errs, &ParamError{row, fmt.Errorf("counts only with a proxy in %q", typ)})
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	opts := []Option{WithProxy(kind, addr).ForParameter(server)}
	switch {
	case v.Has(user):
		opts = append(opts, WithProxyLogin(v.Text(user), v.Secret(pass)).ForParameter(user))
	case v.Has(pass):
		errs = append(errs, &ParamError{user, fmt.Errorf("%w with a password", ErrParameterRequired)})
	}
	if name := v.Text(auth); name != "" && name != "Auto" {
		opts = append(opts, WithProxyMechanisms(name))
	}
	return opts, errors.Join(errs...)
}

// traceOptions reads LogDebug. The documented names are those of pairs: what
// is opened alone takes part in the same one.
func traceOptions(v Values, protocol string) ([]Option, error) {
	if !v.Bool("LogDebug", false) {
		return nil, nil
	}
	dir := v.Text("Log Directory")
	if dir == "" {
		root := v.Text("Spool Directory")
		if root == "" {
			return nil, &ParamError{"Log Directory", fmt.Errorf("%w with %q, as there is no spool directory", ErrParameterRequired, "LogDebug")}
		}
		dir = filepath.Join(root, "log")
	}
	prefix := protocol
	for _, in := range []string{"POP3", "IMAP"} {
		if protocol == in || protocol == "SMTP" && v.Has(in+" Server") {
			prefix = in + "SMTP"
		}
	}
	return []Option{WithLogDebug(dir, prefix).ForParameter("Log Directory")}, nil
}
